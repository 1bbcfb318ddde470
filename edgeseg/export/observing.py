"""Activation ranges of a float graph on calibration images, chosen for the least loss in 8 bits.

Two passes over the images: lowest and highest values, then a histogram of each point between them. Two ranges of a
point are searched among shrunken copies of (lowest, highest): the one with the least expected squared error after
rounding to 256 steps (Nagel et al., "A White Paper on Neural Network Quantization", 2021, section 3.1: MSE range
setting), and the one with the least absolute error. They differ where a few values dwarf the rest: the squared error
keeps those few, and the steps become too coarse for all others. Neither is better on every net, so a third pass
measures: the net rounded with the squared error's ranges, and with the absolute error's at the points where they are
narrower by each factor in `NARROWER`, is compared with the float net label by label, and the closest one is taken (a
coarse form of Nahshan et al., "Loss Aware Post-Training Quantization", Machine Learning 2021).

Values beyond what a point's readers tell apart (`useful_span`) count as the end where they are cut: no error lies
there. The first two passes only add up, so their result depends neither on the order nor on the batches of the images.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node

from edgeseg.core.quantization import Range
from edgeseg.graph.node_values import NodeObserver
from edgeseg.graph.quantization_points import ANY, QuantizationPlan, other_points, useful_span
from edgeseg.graph.scale_limits import affine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

OBSERVER = "histogram-2048-squared-or-absolute-error"
BINS = 2_048
STEPS = 256
SHRINKS = np.geomspace(1.0, 0.02, 100)
SQUARED, ABSOLUTE = 2, 1
NARROWER = (4.0, 2.0, 1.4, 1.0)
"""How many times narrower the least absolute error's range of a point has to be for it to be tried."""
COMPARED = 16
"""On how many images the rounded nets are compared with the float one."""

Ends = tuple[float, float]


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
    graph: GraphModule,
    images: Callable[[], Iterator[np.ndarray]],
    *,
    plan: QuantizationPlan,
    exact: Iterable[str] = (),
    known: Mapping[str, Ends] | None = None,
) -> tuple[Range, ...]:
    """Return a range for each point of the plan, in its order, then for every other float tensor of the graph.

    The others serve backends whose rules put points elsewhere; they take the least squared error's range. `images`
    starts a pass over the input tensors (1, H, W, 3) uint8. Points named in `exact` keep their lowest and highest
    value, those in `known` have the (low, high) given there. The graph returns logits, classes last.
    """
    others = other_points(graph, plan)
    histograms = {point.name: Histogram(span=useful_span(point)) for point in (*plan.points, *others)}
    owner = {node: histograms[point.name] for point in (*plan.points, *others) for node in point.nodes}
    for gather in (Histogram.widen, Histogram.count):
        observer = NodeObserver(graph, {node: partial(gather, histogram) for node, histogram in owner.items()})
        for tensor in images():
            with torch.no_grad():
                observer.run(torch.from_numpy(tensor))
    settled = {name: (histograms[name].low, histograms[name].high) for name in exact} | dict(known or {})
    planned = {point.name: histograms[point.name] for point in plan.points}
    chosen = _closest(graph, images, plan=plan, candidates=_candidates(planned, settled))
    chosen |= {point.name: least_error_range(histograms[point.name]) for point in others}
    return tuple(Range(name=name, low=low, high=high) for name, (low, high) in chosen.items())


def least_error_range(histogram: Histogram, *, power: int = SQUARED) -> Ends:
    """Return the (low, high) with the least expected error, to the given power, in 256 steps, zero among them.

    Both ends are shrunk together first, then each alone.
    """

    def error(low: float, high: float) -> float:
        return _error(histogram, low, high, power=power)

    best = min(SHRINKS, key=lambda shrink: error(shrink * histogram.low, shrink * histogram.high))
    low, high = best * histogram.low, best * histogram.high
    if low < 0.0:
        low = min(SHRINKS * histogram.low, key=lambda candidate: error(candidate, high))
    if high > 0.0:
        high = min(SHRINKS * histogram.high, key=lambda candidate: error(low, candidate))
    return float(low), float(high)


def _candidates(histograms: Mapping[str, Histogram], settled: Mapping[str, Ends]) -> list[dict[str, Ends]]:
    """Return sets of ranges that differ: the squared error's first, then with more and more of the absolute error's."""
    squared = {name: settled.get(name) or least_error_range(found) for name, found in histograms.items()}
    absolute = {
        name: settled.get(name) or least_error_range(found, power=ABSOLUTE) for name, found in histograms.items()
    }
    candidates = [squared]
    for times in NARROWER:
        mixed = {
            name: absolute[name] if _width(ends) > times * _width(absolute[name]) else ends
            for name, ends in squared.items()
        }
        if mixed != candidates[-1]:
            candidates.append(mixed)
    return candidates


def _closest(
    graph: GraphModule,
    images: Callable[[], Iterator[np.ndarray]],
    *,
    plan: QuantizationPlan,
    candidates: list[dict[str, Ends]],
) -> dict[str, Ends]:
    """Return the candidate with which the net gives most of the float net's labels; of equal ones the first."""
    if len(candidates) == 1:
        return candidates[0]
    nets = [_Rounding(graph, plan=plan, ranges=ranges) for ranges in candidates]
    agreeing = [0] * len(nets)
    for tensor in islice(images(), COMPARED):
        image = torch.from_numpy(tensor)
        with torch.no_grad():
            labels = graph(image).argmax(-1)
            for index, net in enumerate(nets):
                agreeing[index] += int((net.run(image)[0].argmax(-1) == labels).sum())
    return candidates[agreeing.index(max(agreeing))]


def _width(ends: Ends) -> float:
    return ends[1] - ends[0]


class _Rounding(Interpreter):
    """The float graph with the values of its points on int8's grid; weights stay as they are."""

    def __init__(self, graph: GraphModule, *, plan: QuantizationPlan, ranges: Mapping[str, Ends]) -> None:
        super().__init__(graph)
        self._grids = {node: affine(*ranges[point.name]) for point in plan.points for node in point.nodes}

    def run_node(self, n: Node) -> object:
        value = super().run_node(n)
        if n not in self._grids:
            return value
        assert isinstance(value, Tensor)
        return torch.fake_quantize_per_tensor_affine(value, *self._grids[n], -128, 127)


def _error(histogram: Histogram, low: float, high: float, *, power: int) -> float:
    if high <= low:
        return float("inf")
    width = (histogram.high - histogram.low) / BINS
    centres = histogram.low + (np.arange(BINS) + 0.5) * width
    scale = (high - low) / (STEPS - 1)
    zero = np.rint(-low / scale)
    stored = np.clip(np.rint(centres / scale) + zero, 0, STEPS - 1)
    return float(histogram.counts @ np.abs((stored - zero) * scale - centres) ** power)
