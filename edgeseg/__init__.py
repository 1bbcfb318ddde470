"""edgeseg takes a semantic-segmentation model from a PyTorch checkpoint to edge devices, and proves it there.

Each verb of the command line is a function here, imported on first use: `import edgeseg` needs no library.
`bench`, `compress` and `train` are packages too: `edgeseg.train(recipe, out=folder)` and `edgeseg.train.Recipe`.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from edgeseg.core.version import VERSION

if TYPE_CHECKING:
    from edgeseg.bench.compare import compare
    from edgeseg.runtime import load, open_camera, run, verify
    from edgeseg.train.run import train
    from edgeseg.verbs.adopt import adopt
    from edgeseg.verbs.bench import bench
    from edgeseg.verbs.calibrate import calibrate
    from edgeseg.verbs.check import check, rewrite
    from edgeseg.verbs.compile import compile_artifact
    from edgeseg.verbs.compress import compress
    from edgeseg.verbs.convert import convert
    from edgeseg.verbs.new import new
    from edgeseg.verbs.predict import predict
    from edgeseg.verbs.spec import check_spec, write_spec_draft
    from edgeseg.verbs.validate import validate

__version__ = VERSION

__all__ = [
    "__version__",
    "adopt",
    "bench",
    "calibrate",
    "check",
    "check_spec",
    "compare",
    "compile_artifact",
    "compress",
    "convert",
    "load",
    "new",
    "open_camera",
    "predict",
    "rewrite",
    "run",
    "train",
    "validate",
    "verify",
    "write_spec_draft",
]

_HOMES = {
    "adopt": "edgeseg.verbs.adopt",
    "bench": "edgeseg.verbs.bench",
    "calibrate": "edgeseg.verbs.calibrate",
    "check_spec": "edgeseg.verbs.spec",
    "check": "edgeseg.verbs.check",
    "compare": "edgeseg.bench.compare",
    "compile_artifact": "edgeseg.verbs.compile",
    "compress": "edgeseg.verbs.compress",
    "convert": "edgeseg.verbs.convert",
    "load": "edgeseg.runtime",
    "new": "edgeseg.verbs.new",
    "open_camera": "edgeseg.runtime",
    "predict": "edgeseg.verbs.predict",
    "rewrite": "edgeseg.verbs.check",
    "run": "edgeseg.runtime",
    "train": "edgeseg.train.run",
    "validate": "edgeseg.verbs.validate",
    "verify": "edgeseg.runtime",
    "write_spec_draft": "edgeseg.verbs.spec",
}
_PACKAGES = ("bench", "compress", "train")


class _CallablePackage(ModuleType):
    """A package that can be called like the verb of the same name."""

    def __call__(self, *arguments: object, **options: object) -> object:
        return _function(self.__name__.rpartition(".")[2])(*arguments, **options)  # type: ignore[operator]


class _Edgeseg(ModuleType):
    """This package. Python binds an imported sub-package to its name here, which would hide the verb."""

    def __setattr__(self, name: str, value: object) -> None:
        if name in _PACKAGES and isinstance(value, ModuleType):
            value.__class__ = _CallablePackage
        super().__setattr__(name, value)


def __getattr__(name: str) -> object:
    if name in _PACKAGES:
        return import_module(f"edgeseg.{name}")
    if name in _HOMES:
        return _function(name)
    raise AttributeError(f"module 'edgeseg' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _function(name: str) -> object:
    return getattr(import_module(_HOMES[name]), name)


sys.modules[__name__].__class__ = _Edgeseg
