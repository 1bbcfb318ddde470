"""Which engine opens an artifact, and on how many threads."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.core import registry
from edgeseg.core.files import read_toml
from edgeseg.core.protocols import Engine
from edgeseg.core.target import Target
from edgeseg.errors import EdgesegError, InputError, MissingDependency, UnsupportedError

if TYPE_CHECKING:
    from edgeseg.core.artifact import Manifest

MOST_THREADS = 4
"""More seldom helps small nets on the CPUs of edge devices, and takes the cores from camera and display."""


def choose_engine(manifest: Manifest, *, name: str | None = None) -> Engine:
    """Return the engine to open an artifact with: `name`, else the manifest's, else the first one installed.

    Raises:
        UnknownName: no engine is registered as `name`.
        UnsupportedError: it does not run the artifact's format, or nothing does.
        MissingDependency: its library is not installed; the message names the command that brings it.
    """
    if name is not None:
        return _named_engine(manifest, name)
    engines = _engines_for(manifest)
    for engine in engines:
        if engine.status().available:
            return engine
    if not engines:
        raise UnsupportedError(f'No engine here runs the format "{manifest.format}". Update edgeseg.')
    raise _missing(engines[0])


def choose_threads(manifest: Manifest, *, engine: str, threads: int | None = None) -> int:
    """Return `threads` where given, else those that the artifact's target sets for `engine`, else the cores up to four.

    Raises:
        InputError: `threads` is less than one.
    """
    if threads is not None:
        if threads < 1:
            raise InputError(f"threads is {threads}; give 1 or more.")
        return threads
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(_target_threads(manifest, engine) or MOST_THREADS, cores)


def _named_engine(manifest: Manifest, name: str) -> Engine:
    engine = registry.load("engines", name)
    if not isinstance(engine, Engine):
        raise UnsupportedError(f'The plug-in "{name}" is registered as an engine but is none.')
    if manifest.format not in engine.formats:
        able = ", ".join(other.name for other in _engines_for(manifest)) or "none"
        raise UnsupportedError(
            f'{name} runs {", ".join(engine.formats)}; this artifact is "{manifest.format}". Engines for it: {able}.'
        )
    if not engine.status().available:
        raise _missing(engine)
    return engine


def _engines_for(manifest: Manifest) -> list[Engine]:
    """Return the engines that know the format, the manifest's own one first."""
    plugins = registry.load_all("engines")
    engines = [plugin.value for plugin in plugins if isinstance(plugin.value, Engine)]
    able = [engine for engine in engines if manifest.format in engine.formats]
    return sorted(able, key=lambda engine: engine.name != manifest.engine)


def _missing(engine: Engine) -> MissingDependency:
    status = engine.status()
    return MissingDependency(f"{status.reason} {status.mend}".strip())


def _target_threads(manifest: Manifest, engine: str) -> int | None:
    """Return the threads that the artifact's target sets for `engine`; None where the target is a plain format, and
    where its file is not on this machine: an artifact runs without it.
    """
    from importlib import resources

    path = Path(str(resources.files("edgeseg.targets"))) / f"{Path(manifest.target).stem}.toml"
    if not path.is_file():
        return None
    try:
        target = read_toml(Target, path)
    except EdgesegError:
        return None
    return next((backend.threads for backend in target.backends if backend.engine == engine), None)
