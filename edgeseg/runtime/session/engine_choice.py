"""Which engine opens an artifact, with which delegate and options, and on how many threads."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from edgeseg.core import registry
from edgeseg.core.backend import MAX_THREADS as LIMIT
from edgeseg.core.backend import ResolvedBackend
from edgeseg.core.backend_check import check_backend
from edgeseg.core.protocols import Engine
from edgeseg.errors import InputError, MissingDependency, UnsupportedError

if TYPE_CHECKING:
    from edgeseg.core.artifact import Manifest

DEFAULT_MAX_THREADS = 4
"""More rarely helps small nets on edge CPUs, and takes cores from camera and display."""


def choose_engine(manifest: Manifest, *, name: str | None = None) -> Engine:
    """Return the engine to open an artifact with: `name`, else the manifest's, else the first one installed.

    Raises:
        UnknownName: no engine is registered as `name`.
        UnsupportedError: it does not run the artifact's format, or no engine does.
        MissingDependency: its library is not installed; the message names the command that installs it.
    """
    if name is not None:
        return _named_engine(manifest, name)
    engines = _engines_for(manifest)
    for engine in engines:
        if engine.status().available:
            return engine
    if not engines:
        raise UnsupportedError(
            f'No installed engine runs the format "{manifest.format}". Update edgeseg, or install the '
            "package whose engine runs it; edgeseg doctor lists the engines."
        )
    raise _missing(engines[0])


def choose_backend(manifest: Manifest, *, engine: Engine, threads: int | None = None) -> ResolvedBackend:
    """Return how `engine` runs an artifact: with the manifest's delegate, options and threads if that is its engine.

    Another engine than the manifest's runs with its own defaults. Without `threads`, the manifest's number or four is
    taken, but no more than the cores here.

    Raises:
        InputError: `threads` is less than one, or more than engines can handle.
        UnknownName: a delegate or an option that the engine does not have.
    """
    own = manifest.backend
    count = _threads(own, threads)
    if own.engine != engine.name:
        return ResolvedBackend(engine=engine.name, threads=count)
    check_backend(engine, delegate=own.delegate, options=own.options)
    return ResolvedBackend(engine=engine.name, delegate=own.delegate, threads=count, options=own.options)


def _threads(own: ResolvedBackend, threads: int | None) -> int:
    if threads is not None:
        if not 1 <= threads <= LIMIT:
            raise InputError(f"threads is {threads}; give 1 to {LIMIT}.")
        return threads
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(own.threads or DEFAULT_MAX_THREADS, cores)


def _named_engine(manifest: Manifest, name: str) -> Engine:
    engine = registry.load_as("engines", name, Engine)  # type: ignore[type-abstract]
    if manifest.format not in engine.formats:
        able = ", ".join(other.name for other in _engines_for(manifest)) or "none"
        raise UnsupportedError(
            f'{name} runs {", ".join(engine.formats)}; this artifact is "{manifest.format}". Engines for it: {able}.'
        )
    if not engine.status().available:
        raise _missing(engine)
    return engine


def _engines_for(manifest: Manifest) -> list[Engine]:
    """Return the engines that run the format, the manifest's own one first."""
    plugins = registry.load_all("engines")
    engines = [plugin.value for plugin in plugins if isinstance(plugin.value, Engine)]
    able = [engine for engine in engines if manifest.format in engine.formats]
    return sorted(able, key=lambda engine: engine.name != manifest.engine)


def _missing(engine: Engine) -> MissingDependency:
    status = engine.status()
    return MissingDependency(f"{status.reason} {status.fix}".strip())
