"""Whether an engine's library is installed and imports."""

from __future__ import annotations

import importlib

from edgeseg.core.protocols import EngineStatus
from edgeseg.errors import MissingDependency


def library_status(module: str, *, title: str, distribution: str, fix: str) -> EngineStatus:
    """Return the version of an importable library, or why it is unavailable; never raises.

    The import is tried: nothing less finds a wheel for another CPU or numpy version.
    """
    try:
        importlib.import_module(module)
    except ModuleNotFoundError:
        return EngineStatus(available=False, reason=f"{title} is not installed:", fix=fix)
    except Exception as error:  # noqa: BLE001 - a native library may fail in any way
        words = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        return EngineStatus(available=False, reason=f"{title} is installed but does not import ({words}):", fix=fix)
    from importlib import metadata

    try:
        version = metadata.version(distribution)
    except metadata.PackageNotFoundError:
        version = str(getattr(importlib.import_module(module), "__version__", "unknown"))
    return EngineStatus(available=True, version=version)


def require(status: EngineStatus) -> None:
    """Raise `MissingDependency`, with the command that fixes it, if a library is not available."""
    if not status.available:
        raise MissingDependency(f"{status.reason} {status.fix}")
