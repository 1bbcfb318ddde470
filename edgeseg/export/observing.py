"""What a float graph's tensors hold on calibration pictures, as ranges that lose least in 8 bits.

Two passes over the pictures: lowest and highest values, then a histogram of each point between them. The range of a
point is the one with the least expected squared error after rounding to 256 steps (Nagel et al., "A White Paper on
Neural Network Quantization", 2021, section 3.1: MSE range setting), searched over shrunken copies of (lowest, highest).
Values beyond what a point's readers tell apart (`useful_span`) count as the end they are cut to: no error lies there.
Both passes only add up, so neither order nor grouping of the pictures changes the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node

from edgeseg.core.quantization import Range
from edgeseg.export.points import ANY, Plan, useful_span

OBSERVER = "mse-histogram-2048-useful-span"
BINS = 2_048
STEPS = 256
SHRINKS = np.linspace(1.0, 0.3, 36)


@dataclass(slots=True, kw_only=True)
class Histogram:
    """Counts of a tensor's values between `low` and `high`; both always span zero, which int8 stores exactly.

    Values outside `span` count as its ends.
    """

    span: tuple[float, float] = ANY
    low: float = 0.0
    high: float = 0.0
    counts: np.ndarray = field(default_factory=lambda: np.zeros(BINS))

    def widen(self, values: Tensor) -> None:
        """First pass: take the values into the span."""
        low, high = torch.aminmax(values.clamp(*self.span))
        self.low, self.high = min(self.low, low.item()), max(self.high, high.item())

    def count(self, values: Tensor) -> None:
        """Second pass: count the values."""
        if self.high > self.low:
            self.counts += torch.histc(values.clamp(*self.span), bins=BINS, min=self.low, max=self.high).numpy()


def observe_points(
    graph: GraphModule, pictures: Callable[[], Iterator[np.ndarray]], *, plan: Plan, exact: Iterable[str] = ()
) -> tuple[Range, ...]:
    """Return a range for each point of the plan, in its order.

    `pictures` starts a pass over the input tensors (1, H, W, 3) uint8; it is called twice. Points named in `exact` keep
    lowest and highest as they are.
    """
    histograms = {point.name: Histogram(span=useful_span(point)) for point in plan.points}
    owner = {node: histograms[point.name] for point in plan.points for node in point.nodes}
    for gather in (Histogram.widen, Histogram.count):
        watcher = _Watcher(graph, owner=owner, gather=gather)
        for tensor in pictures():
            with torch.no_grad():
                watcher.run(torch.from_numpy(tensor))
    kept = set(exact)
    return tuple(_range(name, found, exact=name in kept) for name, found in histograms.items())


def least_error_range(histogram: Histogram) -> tuple[float, float]:
    """Return the (low, high) with the least expected squared error in 256 steps, zero among them.

    Both ends are shrunk together first, then each alone.
    """
    best = min(SHRINKS, key=lambda shrink: _error(histogram, shrink * histogram.low, shrink * histogram.high))
    low, high = best * histogram.low, best * histogram.high
    if low < 0.0:
        low = min(SHRINKS * histogram.low, key=lambda candidate: _error(histogram, candidate, high))
    if high > 0.0:
        high = min(SHRINKS * histogram.high, key=lambda candidate: _error(histogram, low, candidate))
    return float(low), float(high)


class _Watcher(Interpreter):
    def __init__(
        self, graph: GraphModule, *, owner: dict[Node, Histogram], gather: Callable[[Histogram, Tensor], None]
    ) -> None:
        super().__init__(graph)
        self._owner = owner
        self._gather = gather

    def run_node(self, n: Node) -> object:
        value = super().run_node(n)
        if n in self._owner:
            self._gather(self._owner[n], value)
        return value


def _range(name: str, histogram: Histogram, *, exact: bool) -> Range:
    low, high = (histogram.low, histogram.high) if exact else least_error_range(histogram)
    return Range(name=name, low=low, high=high)


def _error(histogram: Histogram, low: float, high: float) -> float:
    if high <= low:
        return float("inf")
    width = (histogram.high - histogram.low) / BINS
    centres = histogram.low + (np.arange(BINS) + 0.5) * width
    scale = (high - low) / (STEPS - 1)
    zero = np.rint(-low / scale)
    stored = np.clip(np.rint(centres / scale) + zero, 0, STEPS - 1)
    return float(histogram.counts @ np.square((stored - zero) * scale - centres))
