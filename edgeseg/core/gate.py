"""The proof's gate: the measures of an artifact against its float checkpoint, and the thresholds they were held to."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgeseg.core.records import bounds


@dataclass(frozen=True, slots=True, kw_only=True)
class GateThresholds:
    """What an artifact has to reach.

    `label_agreement` and `boundary_agreement` are shares of pixels that have the float checkpoint's label.
    `decided_agreement` and, for every class, `class_agreement` count decided pixels only: those where the float
    checkpoint's best class leads the next one by more than `decided_lead` times the RMS of its logits. Such a lead is
    beyond rounding, so that a pixel which changes there is a fault, whatever the images show. A class is judged from a
    share of `class_share` of all pixels on. `sqnr_db` holds for logits, `displacement_px` is in pixels of the input.
    `miou_drop` and `class_iou_drop` are fractions that an IoU against ground truth may lose; an artifact fails where
    the whole 95 % interval lies beyond.
    """

    label_agreement: float = field(metadata=bounds(low=0, high=1))
    boundary_agreement: float = field(metadata=bounds(low=0, high=1))
    decided_agreement: float = field(metadata=bounds(low=0, high=1))
    class_agreement: float = field(metadata=bounds(low=0, high=1))
    decided_lead: float = field(default=0.5, metadata=bounds(low=0))
    class_share: float = field(default=0.0005, metadata=bounds(low=0, high=1))
    sqnr_db: float
    displacement_px: float = field(metadata=bounds(above=0))
    miou_drop: float = field(metadata=bounds(low=0, high=1))
    class_iou_drop: float = field(metadata=bounds(low=0, high=1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A value with its 95 % interval, from resampling the images (bootstrap)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassResult:
    """One class that the float checkpoint predicts: its pixels, and the share of them that the artifact repeats.

    `decided_pixels` and `decided_agreement` count decided pixels only. `iou_change` is the artifact's IoU less the
    float checkpoint's, against ground truth if there is any.
    """

    name: str
    pixels: int = field(metadata=bounds(low=0))
    agreement: float = field(metadata=bounds(low=0, high=1))
    decided_pixels: int = field(metadata=bounds(low=0))
    decided_agreement: float | None = field(metadata=bounds(low=0, high=1))
    iou_change: Interval | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ArithmeticReport:
    """The float graph with every value rounded to `dtype`, as a device that computes in it would.

    `peak` is the largest absolute value of any layer, at `layer`: float16 ends at 65504.
    """

    dtype: str
    peak: float
    layer: str
    label_agreement: float = field(metadata=bounds(low=0, high=1))
    sqnr_db: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GateReport:
    """What the gate measured on `images` images of `source`, and the thresholds.

    `compared` says at which resolution labels are compared: the artifact's own head decides, for both sides. Without
    `in_domain` the images are not of the kind that the net was trained on: `label_agreement` and `boundary_agreement`
    are then reported, not judged, and a class may lose twice as many decided pixels. `licence` is that of the images,
    which the artifact's golden samples hold; it may be another than that of the weights. Values that a head or the
    images do not give are None.
    """

    source: str
    images: int = field(metadata=bounds(low=1))
    in_domain: bool
    compared: str
    label_agreement: float = field(metadata=bounds(low=0, high=1))
    boundary_agreement: float | None
    decided_agreement: float | None
    sqnr_db: float | None
    displacement_px: float | None
    classes: tuple[ClassResult, ...]
    miou_change: Interval | None = None
    arithmetic: ArithmeticReport | None = None
    thresholds: GateThresholds
    licence: str = ""
