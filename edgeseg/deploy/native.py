"""`--calibrator native`: int8 by the vendor's own quantizer, from the same float graph and calibration images."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from edgeseg.core import registry
from edgeseg.core.protocols import Converter
from edgeseg.core.quantization import CALIBRATORS
from edgeseg.core.suggestions import unknown
from edgeseg.errors import InputError, UnsupportedError

if TYPE_CHECKING:
    from edgeseg.core.protocols import Compiler
    from edgeseg.deploy.conversion_request import ConversionRequest
    from edgeseg.deploy.plan import PlannedArtifact


def check_calibrator(request: ConversionRequest) -> ConversionRequest:
    """Return the request, with a native calibrator at int8, after checking what goes with one.

    Raises:
        UnknownName: no such calibrator.
        InputError: another precision, no calibration images, or a search among precisions and heads.
    """
    if request.calibrator not in CALIBRATORS:
        raise unknown("calibrator", request.calibrator, CALIBRATORS)
    if request.calibrator == "edgeseg":
        return request
    if request.precision not in ("auto", "int8"):
        raise InputError(f"A native calibrator makes int8, not {request.precision}. Leave --precision out.")
    if request.calibration is None:
        raise InputError(
            "A native calibrator needs images, not a checkpoint's ranges. Give training images (--calibration DIR)."
        )
    if request.max_drop is not None or request.output == "auto":
        raise InputError(
            "A native calibrator is for comparison: it makes one artifact. Leave --max-drop and --output auto out."
        )
    return dataclasses.replace(request, precision="int8")


def planned_for(item: PlannedArtifact, request: ConversionRequest, *, fixed: bool) -> PlannedArtifact:
    """Return a planned artifact with the request's calibrator; unless `fixed`, a native one has a folder of its own."""
    if request.calibrator == "edgeseg":
        return item
    path = item.path if fixed else item.path.with_name(f"{item.path.name}-native")
    return dataclasses.replace(item, path=path, calibrator=request.calibrator)


def native_converter(converter: Converter, compiler: Compiler | None = None) -> Converter:
    """Return the converter that uses the vendor's quantizer.

    Raises:
        MissingDependency: a plug-in that cannot be imported.
        UnsupportedError: the format has none, or a compiler follows, which reads edgeseg's int8.
    """
    if compiler is not None:
        raise UnsupportedError(f"{compiler.title} compiles edgeseg's int8. Leave --calibrator out.")
    able = registry.names("native_converters")
    if converter.format not in able:
        raise UnsupportedError(
            f"{converter.title} has no native calibrator here; {', '.join(able)} have. Leave --calibrator out."
        )
    return registry.load_as("native_converters", converter.format, Converter)  # type: ignore[type-abstract]
