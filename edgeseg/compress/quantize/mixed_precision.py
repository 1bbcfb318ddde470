"""Mixed precision: the fewest float layers that reduce the loss of int8 below a bound."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeseg.compress.quantize.sensitivity import LayerEffect, Probe, layer_sensitivity
from edgeseg.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from edgeseg.core.progress import Progress
    from edgeseg.core.quantization import Ranges
    from edgeseg.models import Checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class MixedPrecision:
    """The layers to keep in float, the loss with and without them, and how many nets were measured.

    The loss is 1 - agreement with the float net, or the lost mIoU if labels were given, as a fraction.
    """

    float_layers: tuple[str, ...]
    lost: float
    lost_all_int8: float
    measured: int


def fewest_float_layers(
    checkpoint: Checkpoint,
    ranges: Ranges,
    images: Sequence[np.ndarray],
    *,
    bound: float,
    labels: Sequence[np.ndarray] | None = None,
    on_progress: Progress | None = None,
) -> MixedPrecision:
    """Return a small set of layers that, kept in float, reduce the loss of int8 to `bound` or below.

    The loss is 1 - agreement, or the lost mIoU if `labels` are given. The search is greedy: the layers with the largest
    individual loss move to float first, as many as needed (bisection), then unneeded ones move back. Layers that the
    ranges keep in float start in int8 here.

    Raises:
        InputError: no set of layers meets the bound, the bound is not 0 to 1, or images as in `layer_sensitivity`.
        CheckpointError: the ranges belong to another checkpoint.
    """
    check_bound(bound)
    probe = Probe(checkpoint, ranges, images, labels=labels)
    search = _Search(probe, bound=bound)
    everything = search.lost(())
    if everything <= bound:
        return MixedPrecision(float_layers=(), lost=everything, lost_all_int8=everything, measured=search.measured)
    effects = layer_sensitivity(checkpoint, ranges, images, labels=labels, on_progress=on_progress)
    chosen = search.pruned(search.prefix(_by_cost(effects)))
    in_order = tuple(path for path in dict.fromkeys(_path(item.name) for item in effects) if path in chosen)
    return MixedPrecision(
        float_layers=in_order, lost=search.lost(chosen), lost_all_int8=everything, measured=search.measured
    )


def check_bound(bound: float) -> None:
    """Raise `InputError` for a bound that is not from 0 to 1."""
    if not 0 <= bound <= 1:
        raise InputError(f"bound is {bound:g}: give the share that may be lost, 0 to 1 (0.01 is one percent).")


class _Search:
    """Measures sets of float layers, each once."""

    def __init__(self, probe: Probe, *, bound: float) -> None:
        self._probe, self._bound = probe, bound
        self._known: dict[frozenset[str], float] = {}

    @property
    def measured(self) -> int:
        return len(self._known)

    def lost(self, layers: Sequence[str]) -> float:
        key = frozenset(layers)
        if key not in self._known:
            self._known[key] = self._probe.lost(tuple(layers))
        return self._known[key]

    def prefix(self, layers: tuple[str, ...]) -> tuple[str, ...]:
        """Return the shortest prefix that meets the bound, assuming that more float layers never hurt."""
        low, high = 1, len(layers)
        if self.lost(layers) > self._bound:
            raise InputError(
                f"With every layer in float that can be, {self.lost(layers):.4f} is still lost; the bound is "
                f"{self._bound}. Give a larger bound."
            )
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self.lost(layers[:middle]) <= self._bound else (middle + 1, high)
        return layers[:high]

    def pruned(self, layers: tuple[str, ...]) -> tuple[str, ...]:
        """Return the layers without unneeded ones, tried from last to first."""
        kept = layers
        for layer in reversed(layers):
            fewer = tuple(item for item in kept if item != layer)
            if self.lost(fewer) <= self._bound:
                kept = fewer
        return kept


def _by_cost(effects: Sequence[LayerEffect]) -> tuple[str, ...]:
    """Return the paths that can stay in float, largest loss first; paths that contain others come last."""
    cost: dict[str, float] = {}
    for item in effects:
        path = _path(item.name)
        lost = 1.0 - item.agreement if item.miou_lost is None else item.miou_lost
        cost[path] = max(cost.get(path, -math.inf), lost)
    paths = sorted((path for path in cost if path), key=lambda path: -cost[path])
    return tuple(sorted(paths, key=lambda path: any(other.startswith(f"{path}.") for other in paths)))


def _path(name: str) -> str:
    return name.split(":", maxsplit=1)[0]
