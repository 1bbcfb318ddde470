"""Checks that the names in a target file exist: formats, engines, delegates, options, precisions, cameras."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeseg.core import registry
from edgeseg.core.backend_check import check_backend
from edgeseg.core.protocols import Compiler, Converter, Engine
from edgeseg.core.suggestions import unknown
from edgeseg.errors import UnsupportedError

if TYPE_CHECKING:
    from edgeseg.core.target import Backend, Target

ARCHITECTURES = (
    "aarch64",
    "arm64",
    "armv6l",
    "armv7l",
    "armv8.1-m.main",
    "i686",
    "ppc64le",
    "riscv64",
    "wasm32",
    "x86_64",
)
"""Output of `uname -m` on devices that edgeseg targets; "arm64" is Apple's, "wasm32" a browser's,
"armv8.1-m.main" what compilers call a microcontroller with Ethos-U."""


def check_target(target: Target) -> None:
    """Check that every name in a target is registered on this machine.

    Raises:
        UnknownName: a name is not registered; names the nearest one.
        UnsupportedError: an engine does not run the backend's format.
        MissingDependency: an engine is registered but cannot be imported.
    """
    if target.arch not in ARCHITECTURES:
        raise unknown("arch", target.arch, ARCHITECTURES)
    cameras = registry.names("cameras")
    for camera in target.cameras:
        if camera not in cameras:
            raise unknown("camera", camera, cameras)
    for backend in target.backends:
        _check_backend(backend)


def _check_backend(backend: Backend) -> None:
    engine = registry.load_as("engines", backend.engine, Engine)  # type: ignore[type-abstract]
    compiler = compiler_of(backend.format)
    formats = {*registry.names("converters"), *engine.formats}
    if backend.format not in formats:
        raise unknown("format", backend.format, formats)
    if backend.format not in engine.formats:
        raise UnsupportedError(
            f'{backend.engine} does not run the format "{backend.format}"; it runs {", ".join(engine.formats)}.'
        )
    check_backend(engine, delegate=backend.delegate, options=backend.options)
    for name in backend.compile_options:
        if compiler is None:
            raise UnsupportedError(f"{backend.format} is not made by a compiler; compile_options mean nothing for it.")
        if name not in compiler.options:
            raise unknown(f"option of {compiler.name}", name, compiler.options)
    able = _precisions(backend.format)
    for scheme in backend.schemes:
        if able and scheme not in able:
            raise unknown(f"precision of {backend.format}", scheme, able)


def compiler_of(format_name: str) -> Compiler | None:
    """Return the compiler that makes a format, None for a format of a converter or one that nothing here makes."""
    if format_name in registry.names("converters"):
        return None
    found = (plugin.value for plugin in registry.load_all("compilers"))
    return next((item for item in found if isinstance(item, Compiler) and item.format == format_name), None)


def _precisions(format_name: str) -> tuple[str, ...]:
    """Return the schemes that the format's converter or compiler takes; none if its plug-in cannot be imported."""
    compiler = compiler_of(format_name)
    if compiler is not None:
        return compiler.precisions
    if format_name not in registry.names("converters"):
        return ()
    found = next((plugin.value for plugin in registry.load_all("converters") if plugin.name == format_name), None)
    return found.precisions if isinstance(found, Converter) else ()
