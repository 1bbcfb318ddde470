"""coremltools' protobuf classes, without coremltools."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from functools import cache
from pathlib import Path
from typing import Any

from edgeseg.errors import MissingDependency

PACKAGE = "_edgeseg_coreml_proto"
_INSTALL = 'pip install "coremltools>=9.0"'


@cache
def model_class() -> Any:
    """Return the message class of a Core ML specification.

    Importing coremltools takes seconds and brings in torch wherever that is installed, so its folder of generated
    classes is loaded alone, under a name of ours.

    Raises:
        MissingDependency: coremltools is not installed.
    """
    found = importlib.util.find_spec("coremltools")
    if found is None or found.origin is None:
        raise MissingDependency(f"coremltools is not installed: {_INSTALL}.")
    folder = Path(found.origin).parent / "proto"
    if PACKAGE not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            PACKAGE, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        if spec is None or spec.loader is None:
            raise MissingDependency(
                f"{folder}: coremltools without its protobuf classes. Install it again: {_INSTALL}."
            )
        module = importlib.util.module_from_spec(spec)
        sys.modules[PACKAGE] = module
        spec.loader.exec_module(module)
    return importlib.import_module(f"{PACKAGE}.Model_pb2").Model
