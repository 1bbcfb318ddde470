"""The gate: how an artifact's outputs compare with the float checkpoint's, and whether that is close enough."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeseg.core.gate import ClassResult, GateReport, GateThresholds
from edgeseg.metrics.agreement import LabelAgreement, LogitAgreement
from edgeseg.metrics.confusion import ConfusionMatrix
from edgeseg.metrics.iou_change import iou_changes
from edgeseg.pixels import decode, real_logits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgeseg.core.gate import ArithmeticReport
    from edgeseg.core.quantization import QuantizationScheme
    from edgeseg.core.spec import TensorSpec
    from edgeseg.deploy.reference import Reference

THRESHOLDS: dict[int, GateThresholds] = {
    24: GateThresholds(
        label_agreement=0.999, boundary_agreement=0.98, decided_agreement=0.9995, class_agreement=0.995,
        sqnr_db=60.0, displacement_px=0.05, miou_drop=0.001, class_iou_drop=0.005,
    ),
    11: GateThresholds(
        label_agreement=0.985, boundary_agreement=0.9, decided_agreement=0.998, class_agreement=0.97,
        sqnr_db=28.0, displacement_px=0.1, miou_drop=0.005, class_iou_drop=0.03,
    ),
    0: GateThresholds(
        label_agreement=0.9, boundary_agreement=0.6, decided_agreement=0.97, class_agreement=0.9,
        sqnr_db=10.0, displacement_px=0.75, miou_drop=0.02, class_iou_drop=0.1,
    ),
}  # fmt: skip
"""By the significant bits of an artifact's numbers.

From 24 bits (float32) on, only the order of sums differs. 11 bits (float16) flip near ties, which are common in images
unlike the training data. Fewer bits (int8, bfloat16) move class borders by about a pixel; no decided pixel may follow.
Measured on the bundled nets in int8 on CamVid: 98 % to 99 % of all labels, 77 % to 92 % near boundaries, 18 to 30 dB;
99.9 % of the decided labels there and 98 % on rendered streets, which they never saw.
"""
FOREIGN_LOSS = 2.0
"""How many times a class's threshold of loss, and the displacement's, is allowed on images not of the net's own kind.

A class that the net finds there by mistake is one it knows least: a good int8 LR-ASPP keeps 97.8 % of the decided
pixels of signs on CamVid and 88 to 89 % on rendered streets, while a lost or swapped class keeps none. The logits have
fewer edges there, so that rounding looks more like a shift: 1.05 px for one that loses nothing on CamVid.
"""
_LEAST_PIXELS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A measure below its threshold: what it is (with the class, if it is one's), both as text, and the worst image."""

    measure: str
    found: str
    required: str
    image: int
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One image's labels at the resolution that the head gives, wanted and given, and where the wanted are decided."""

    wanted: NDArray[np.uint8]
    given: NDArray[np.uint8]
    decided: NDArray[np.bool_]

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """Where the labels differ, (H, W)."""
        result: NDArray[np.bool_] = self.wanted != self.given
        return result


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The report with what failed, most telling first, and each image's comparison."""

    report: GateReport
    failures: tuple[Failure, ...]
    images: tuple[Compared, ...]


def thresholds_for(scheme: QuantizationScheme) -> GateThresholds:
    """Return what an artifact of a scheme has to reach."""
    return next(found for bits, found in sorted(THRESHOLDS.items(), reverse=True) if scheme.precision_bits >= bits)


def judge(
    outputs: Sequence[NDArray[Any]],
    *,
    tensor: TensorSpec,
    reference: Reference,
    scheme: QuantizationScheme,
    arithmetic: ArithmeticReport | None = None,
) -> Judged:
    """Return how an artifact's raw outputs for the reference's images compare with the float checkpoint's.

    `tensor` describes the outputs: logits are decoded to the input's size on both sides; label maps are compared with
    the float checkpoint's labels at the same resolution.
    """
    thresholds = thresholds_for(scheme)
    images = tuple(_compared(output, index, tensor, reference, thresholds) for index, output in enumerate(outputs))
    classes = len(reference.spec.classes)
    every = LabelAgreement(classes, band=max(1, images[0].wanted.shape[0] // (4 * reference.tensor.size[0])))
    decided = LabelAgreement(classes)
    for item in images:
        every.update(item.given, item.wanted)
        decided.update(item.given, item.wanted, only=item.decided)
    sqnr_db, displacement = _signal(outputs, images, tensor=tensor, reference=reference)
    miou_change, iou_change = _against_truth(outputs, tensor=tensor, reference=reference)
    report = GateReport(
        source=reference.source,
        images=len(images),
        in_domain=reference.in_domain,
        compared=f"{'logits, decoded to' if tensor.role == 'logits' else 'labels at'} "
        f"{images[0].wanted.shape[0]}x{images[0].wanted.shape[1]}",
        label_agreement=every.overall,
        boundary_agreement=every.boundary,
        decided_agreement=decided.overall if decided.counts.sum() else None,
        sqnr_db=sqnr_db,
        displacement_px=displacement,
        classes=_classes(reference.spec.classes, every, decided, iou_change),
        miou_change=miou_change,
        arithmetic=arithmetic,
        thresholds=thresholds,
        licence=reference.licence,
    )
    return Judged(report=report, failures=_failures(report, images, names=reference.spec.classes), images=images)


def wanted_labels(reference: Reference, index: int, *, tensor: TensorSpec) -> NDArray[np.uint8]:
    """Return the float checkpoint's labels as the head of `tensor` would give them.

    Logits are decoded to the input's size. A label map at the net's own stride holds the best class of each cell; one
    of another size is the exact decoding at that size.
    """
    if tensor.role == "logits":
        return reference.labels(index)
    if tensor.size == reference.tensor.size:
        return np.asarray(reference.logits[index][0].argmax(-1), np.uint8)
    return reference.labels(index, size=tensor.size)


def given_labels(output: NDArray[Any], *, tensor: TensorSpec, reference: Reference) -> NDArray[np.uint8]:
    """Return an artifact's labels at the resolution that its head gives: see `wanted_labels`."""
    if tensor.role == "labels":
        return np.asarray(output[0], np.uint8)
    return _decoded(output, tensor, reference, reference.spec.size)


def _compared(
    output: NDArray[Any], index: int, tensor: TensorSpec, reference: Reference, thresholds: GateThresholds
) -> Compared:
    wanted = wanted_labels(reference, index, tensor=tensor)
    given = given_labels(output, tensor=tensor, reference=reference)
    ordered = np.sort(reference.logits[index][0], axis=-1)
    lead = ordered[..., -1] - ordered[..., -2]
    decided = lead > thresholds.decided_lead * reference.rms
    rows, columns = (np.arange(side) * cells // side for side, cells in zip(wanted.shape, lead.shape, strict=True))
    return Compared(wanted=wanted, given=given, decided=decided[rows][:, columns])


def _decoded(
    output: NDArray[Any], tensor: TensorSpec, reference: Reference, size: tuple[int, ...]
) -> NDArray[np.uint8]:
    spec = reference.spec
    return decode(
        output, tensor=tensor, preprocess=spec.preprocess, input_size=spec.size, size=(int(size[0]), int(size[1]))
    )


def _signal(
    outputs: Sequence[NDArray[Any]], images: Sequence[Compared], *, tensor: TensorSpec, reference: Reference
) -> tuple[float | None, float]:
    """Return the SQNR in dB, None for label maps, and the displacement in pixels of the input."""
    met = LogitAgreement()
    classes = np.arange(len(reference.spec.classes))
    for output, wanted, image in zip(outputs, reference.logits, images, strict=True):
        if tensor.role == "logits":
            met.update(real_logits(output, tensor)[0], wanted[0])
        else:
            met.update((image.given[..., None] == classes) * 1.0, (image.wanted[..., None] == classes) * 1.0)
    pixels_per_cell = reference.spec.size[0] / tensor.size[0]
    return met.sqnr_db if tensor.role == "logits" else None, met.displacement * pixels_per_cell


def _against_truth(outputs: Sequence[NDArray[Any]], *, tensor: TensorSpec, reference: Reference) -> tuple[Any, Any]:
    before: list[NDArray[np.int64]] = []
    after: list[NDArray[np.int64]] = []
    for index, (output, truth) in enumerate(zip(outputs, reference.truths, strict=False)):
        mine = _decoded(output, tensor, reference, truth.shape)
        theirs = reference.labels(index, size=truth.shape)
        if tensor.role == "labels":
            own = wanted_labels(reference, index, tensor=tensor)[None]
            theirs = _decoded(own, tensor, reference, truth.shape)
        for counts, labels in ((before, theirs), (after, mine)):
            matrix = ConfusionMatrix(len(reference.spec.classes), ignore_index=reference.spec.ignore_index)
            counts.append(matrix.update(labels, truth))
    return iou_changes(before, after)


def _classes(
    names: tuple[str, ...], every: LabelAgreement, decided: LabelAgreement, iou_change: Sequence[Any]
) -> tuple[ClassResult, ...]:
    rows = zip(names, every.per_class(), decided.per_class(), every.pixels, decided.pixels, strict=True)
    changes = iou_change or (None,) * len(names)
    return tuple(
        ClassResult(
            name=name,
            pixels=int(pixels),
            agreement=agreement,
            decided_pixels=int(sure),
            decided_agreement=sure_agreement,
            iou_change=change,
        )
        for (name, agreement, sure_agreement, pixels, sure), change in zip(rows, changes, strict=True)
        if agreement is not None
    )


def _failures(report: GateReport, images: Sequence[Compared], *, names: tuple[str, ...]) -> tuple[Failure, ...]:
    """Return what is below its threshold, the most telling first: constant outputs, classes, logits, then shares."""
    thresholds = _enforced(report)
    worst = int(np.argmax([item.wrong.mean() for item in images]))
    found = [*_constant(images), *_class_failures(report, thresholds, images, names=names)]
    least: tuple[tuple[str, float | None, float, str], ...] = (
        ("SQNR of the logits", report.sqnr_db, thresholds.sqnr_db, "{:.1f} dB"),
        ("decided pixels with the float label", report.decided_agreement, thresholds.decided_agreement, "{:.2%}"),
        ("labels that agree", report.label_agreement, thresholds.label_agreement, "{:.2%}"),
        ("labels that agree near boundaries", report.boundary_agreement, thresholds.boundary_agreement, "{:.2%}"),
    )
    if report.arithmetic is not None:
        half = report.arithmetic
        what = f"in {half.dtype} arithmetic"
        least += (
            (f"labels that agree {what}", half.label_agreement, thresholds.label_agreement, "{:.2%}"),
            (f"SQNR of the logits {what}", half.sqnr_db, thresholds.sqnr_db, "{:.1f} dB"),
        )
    found += [
        Failure(measure=what, found=form.format(value), required=f"at least {form.format(limit)}", image=worst)
        for what, value, limit, form in least
        if value is not None and not value >= limit
    ]
    if report.displacement_px is not None and not report.displacement_px <= thresholds.displacement_px:
        found.append(
            Failure(
                measure="displacement of the output",
                found=f"{report.displacement_px:.2f} px",
                required=f"at most {thresholds.displacement_px:.2f} px",
                image=worst,
            )
        )
    change = report.miou_change
    if change is not None and change.high < -thresholds.miou_drop:
        found.append(
            Failure(
                measure="mIoU",
                found=f"{100 * change.value:+.2f} points ({100 * change.low:+.2f} to {100 * change.high:+.2f})",
                required=f"at most {100 * thresholds.miou_drop:.2f} lost",
                image=worst,
            )
        )
    return tuple(found)


def _constant(images: Sequence[Compared]) -> list[Failure]:
    if any(np.ptp(item.given) for item in images) or not any(np.ptp(item.wanted) for item in images):
        return []
    return [Failure(measure="output", found="the same class everywhere", required="labels that vary", image=0)]


def _enforced(report: GateReport) -> GateThresholds:
    """Return the thresholds that hold on the report's images: those for images of another kind ask for less."""
    own = report.thresholds
    if report.in_domain:
        return own
    return dataclasses.replace(
        own,
        label_agreement=0,
        boundary_agreement=0,
        class_agreement=max(0, 1 - FOREIGN_LOSS * (1 - own.class_agreement)),
        displacement_px=FOREIGN_LOSS * own.displacement_px,
    )


def _class_failures(
    report: GateReport, thresholds: GateThresholds, images: Sequence[Compared], *, names: tuple[str, ...]
) -> list[Failure]:
    pixels = sum(item.wanted.size for item in images)
    least = max(_LEAST_PIXELS, round(thresholds.class_share * pixels))
    found = []
    for result in sorted(report.classes, key=lambda item: item.decided_agreement or 0.0):
        share, change, index = result.decided_agreement, result.iou_change, names.index(result.name)
        missed = [int((item.wrong & item.decided & (item.wanted == index)).sum()) for item in images]
        problems = []
        if share is not None and result.decided_pixels >= least and share < thresholds.class_agreement:
            text = f"{share:.1%} of {result.decided_pixels} decided pixels have the float label"
            problems.append((text, f"at least {thresholds.class_agreement:.1%}"))
        if change is not None and change.high < -thresholds.class_iou_drop:
            text = f"IoU {100 * change.value:+.1f} points ({100 * change.low:+.1f} to {100 * change.high:+.1f})"
            problems.append((text, f"at most {100 * thresholds.class_iou_drop:.0f} lost"))
        found += [
            Failure(measure="class", name=result.name, found=text, required=limit, image=int(np.argmax(missed)))
            for text, limit in problems
        ]
    return found
