"""The time of one layer on an engine, from a file with only this layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeseg.core import registry
from edgeseg.core.protocols import LayerTimingEngine
from edgeseg.core.suggestions import unknown
from edgeseg.errors import MissingDependency

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def time_layer(file: Path, *, engine: str, threads: int, image: NDArray[Any], runs: int = 30) -> float:
    """Return the median time in milliseconds of the layer in `file` over `runs` runs, after a warm-up.

    Raises:
        UnknownName: an engine that cannot time layers.
        MissingDependency: the engine is not installed.
    """
    chosen = timing_engine(engine)
    status = chosen.status()
    if not status.available:
        raise MissingDependency(f"{status.reason} {status.fix}".strip())
    return chosen.layer_ms(file, threads=threads, image=image, runs=runs)


def timing_engine(name: str) -> LayerTimingEngine:
    """Return the engine registered as `name`, which can time layers; raises `UnknownName` for any other."""
    able = {
        plugin.name: plugin.value
        for plugin in registry.load_all("engines")
        # The times of an evaluator that no device has mean nothing.
        if isinstance(plugin.value, LayerTimingEngine) and plugin.value.proof == "engine"
    }
    if name not in able:
        raise unknown("engine for layer times", name, able)
    return able[name]
