"""Activation ranges of a float graph on calibration images, chosen to lose least in 8 bits.

The first pass over the images takes lowest and highest values, the second a histogram of each point between them. Two
ranges of a point are searched among shrunken copies of (lowest, highest): that with the least expected squared error
after rounding to 256 steps (Nagel et al., "A White Paper on Neural Network Quantization", 2021, section 3.1: MSE range
setting), and that with the least absolute error. They differ where a few values dwarf the rest: the squared error keeps
those few, and the steps become too coarse for all others. Neither is better on every net, so a third pass measures: the
net rounded with the squared error's ranges, and with the absolute error's at the points where they are narrower by each
factor in `NARROWER`, is compared with the float net label by label, and the closest one is taken (a coarse form of
Nahshan et al., "Loss Aware Post-Training Quantization", Machine Learning 2021).

Values beyond the span in which a point's readers differ (`useful_span`) count as its ends: clipping them costs nothing.
The first two passes only add up, so their result depends neither on the order nor on the batches of the images.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node

from edgeseg.calibration.observers import ABSOLUTE, BINS, MSE, Ends, RangeObserver, ValueHistogram, least_error_range
from edgeseg.calibration.selecting import tensor_sha256
from edgeseg.core import registry
from edgeseg.core.quantization import Range
from edgeseg.core.suggestions import unknown
from edgeseg.errors import CheckpointError
from edgeseg.graph.node_values import NodeObserver
from edgeseg.graph.quantization_points import ANY, Point, QuantizationPlan, other_points, useful_span
from edgeseg.graph.scale_limits import affine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from edgeseg.calibration.cache import ContentCache

AUTO = "auto"
OBSERVER = "histogram-2048-squared-or-absolute-error"
"""The default in records: the squared or the absolute error, whichever keeps more labels."""
NARROWER = (4.0, 2.0, 1.4, 1.0)
"""A point's absolute-error range is tried where it is narrower by at least one of these factors."""
COMPARED = 16
"""Number of images on which rounded nets are compared with the float net."""


@dataclass(slots=True, kw_only=True)
class Histogram(ValueHistogram):
    """Counts of a tensor's values between `low` and `high`; both always span zero, which int8 stores exactly.

    Values outside `span` count as its ends.
    """

    span: tuple[float, float] = ANY
    has_nan: bool = False
    """Whether a value was no number."""

    def widen(self, values: Tensor) -> None:
        """First pass: widen the span to the values. Infinite ones, such as a mask's, do not count."""
        low, high = torch.aminmax(values.clamp(*self.span))
        if not (low.isfinite() and high.isfinite()):
            self.has_nan = self.has_nan or bool(values.isnan().any())
            finite = values[values.isfinite()]
            if not finite.numel():
                return
            low, high = torch.aminmax(finite.clamp(*self.span))
        self.include(low.item(), high.item())

    def include(self, low: float, high: float) -> None:
        """Widen to values from `low` to `high`."""
        self.low, self.high = min(self.low, low), max(self.high, high)

    def count(self, values: Tensor) -> None:
        """Second pass: count the values."""
        if self.high > self.low:
            self.counts += torch.histc(values.clamp(*self.span), bins=BINS, min=self.low, max=self.high).numpy()


class Spans:
    """The lowest and highest value of every point on each image, with the results of earlier runs."""

    def __init__(self, known: ContentCache | None = None) -> None:
        self._known = known
        self.images: list[dict[str, Ends]] = []

    def known(self, tensor: np.ndarray) -> dict[str, Ends] | None:
        """Return an earlier run's result for the same image, or None."""
        record = None if self._known is None else self._known.get(tensor_sha256(tensor))
        return None if record is None else {name: (float(low), float(high)) for name, (low, high) in record.items()}

    def add(self, tensor: np.ndarray, found: dict[str, Ends], *, new: bool) -> None:
        """Add an image's spans."""
        self.images.append(found)
        if new and self._known is not None:
            self._known.put(tensor_sha256(tensor), found)

    def curve(self) -> tuple[tuple[int, float], ...]:
        """Return (images, mean width of the points' ranges as a share of their final width), the last for all images.

        Each step has half as many images as the next. If the curve still rises at its end, more images would widen
        the ranges further.
        """
        if not self.images:
            return ()
        ends = np.array([list(image.values()) for image in self.images])  # (images, points, 2)
        widths = np.maximum.accumulate(ends[..., 1]) - np.minimum.accumulate(ends[..., 0])
        shares = widths[:, widths[-1] > 0] / widths[-1, widths[-1] > 0]
        total = len(self.images)
        counts = sorted({-(-total // 2**power) for power in range(total.bit_length())})
        return tuple((count, float(shares[count - 1].mean()) if shares.size else 1.0) for count in counts)


def observe_points(
    graph: GraphModule,
    images: Callable[[], Iterator[np.ndarray]],
    *,
    plan: QuantizationPlan,
    exact: Iterable[str] = (),
    known: Mapping[str, Ends] | None = None,
    observer: str = AUTO,
    spans: Spans | None = None,
) -> tuple[Range, ...]:
    """Return a range for each point of the plan, in its order, then for every other float tensor of the graph.

    The others serve backends whose rules put points elsewhere; they get the least squared error's range. `images`
    starts a pass over the input tensors (1, H, W, 3) uint8. Points named in `exact` keep their lowest and highest
    value, and those in `known` have the (low, high) given there. The graph returns logits, classes last. An `observer`
    other than "auto" is a registered one (entry points `edgeseg.observers`), which then chooses every range.
    `spans` collects what the first pass finds.

    Raises:
        UnknownName: no such observer.
        CheckpointError: a layer gives values that are no numbers.
    """
    chooser = None if observer == AUTO else range_observer(observer)
    others = other_points(graph, plan)
    histograms = {point.name: Histogram(span=useful_span(point)) for point in (*plan.points, *others)}
    owner = {node: histograms[point.name] for point in (*plan.points, *others) for node in point.nodes}
    _widen(graph, images, histograms=histograms, points=(*plan.points, *others), spans=spans or Spans())
    counting = NodeObserver(graph, {node: partial(Histogram.count, histogram) for node, histogram in owner.items()})
    for tensor in images():
        with torch.no_grad():
            counting.run(torch.from_numpy(tensor))
    settled = {name: (histograms[name].low, histograms[name].high) for name in exact} | dict(known or {})
    planned = {point.name: histograms[point.name] for point in plan.points}
    if chooser is None:
        chosen = _closest(graph, images, plan=plan, candidates=_candidates(planned, settled))
    else:
        chosen = {name: settled.get(name) or chooser.range_of(seen) for name, seen in planned.items()}
    by = MSE if chooser is None else chooser
    chosen |= {point.name: by.range_of(histograms[point.name]) for point in others}
    return tuple(Range(name=name, low=low, high=high) for name, (low, high) in chosen.items())


def range_observer(name: str) -> RangeObserver:
    """Return a registered observer; raises `UnknownName` with the nearest one."""
    names = (AUTO, *registry.names("observers"))
    if name not in names:
        raise unknown("observer", name, names)
    return registry.load_as("observers", name, RangeObserver)  # type: ignore[type-abstract]


def _widen(
    graph: GraphModule,
    images: Callable[[], Iterator[np.ndarray]],
    *,
    histograms: Mapping[str, Histogram],
    points: Sequence[Point],
    spans: Spans,
) -> None:
    """First pass: set every histogram's lowest and highest value; images in `spans` are not run again."""
    for tensor in images():
        found = spans.known(tensor)
        new = found is None or found.keys() != histograms.keys()
        if found is None or new:
            seen = {name: Histogram(span=histogram.span) for name, histogram in histograms.items()}
            widening = {node: partial(Histogram.widen, seen[point.name]) for point in points for node in point.nodes}
            with torch.no_grad():
                NodeObserver(graph, widening).run(torch.from_numpy(tensor))
            broken = next((name for name, item in seen.items() if item.has_nan), None)
            if broken is not None:
                raise CheckpointError(
                    f"{broken}: gives values that are no numbers (NaN) on a calibration image, so it has no range. "
                    "Check the weights, and the preprocessing that the net was trained with."
                )
            found = {name: (item.low, item.high) for name, item in seen.items()}
        for name, (low, high) in found.items():
            histograms[name].include(low, high)
        spans.add(tensor, found, new=new)


def _candidates(histograms: Mapping[str, Histogram], settled: Mapping[str, Ends]) -> list[dict[str, Ends]]:
    """Return different sets of ranges: the squared error's first, then with more and more of the absolute error's."""
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
    """Return the candidate that keeps most of the float net's labels; the first of equals."""
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
    """The float graph with its points rounded to int8; weights stay in float."""

    def __init__(self, graph: GraphModule, *, plan: QuantizationPlan, ranges: Mapping[str, Ends]) -> None:
        super().__init__(graph)
        self._grids = {node: affine(*ranges[point.name]) for point in plan.points for node in point.nodes}

    def run_node(self, n: Node) -> object:
        value = super().run_node(n)
        if n not in self._grids:
            return value
        assert isinstance(value, Tensor)
        return torch.fake_quantize_per_tensor_affine(value, *self._grids[n], -128, 127)
