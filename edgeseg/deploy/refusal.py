"""What a refused artifact's user gets: one message with measure, class and image, a PNG, and what usually helps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeseg.errors import GateError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from edgeseg.core.quantization import QuantizationScheme
    from edgeseg.deploy.gate import Failure, Judged
    from edgeseg.deploy.reference import Reference

_SHOWN = 3
_WRONG = (0, 0, 255)


def refusal(
    judged: Judged,
    *,
    name: str,
    engine: str,
    scheme: QuantizationScheme,
    reference: Reference,
    diagnosis: str,
    png: Path,
) -> GateError:
    """Return the error for a refused artifact, and write the worst image to `png`.

    The PNG shows, left to right: image, the float checkpoint's labels, the artifact's, and the differences in red.
    """
    first, *others = judged.failures
    _write(judged, first.image, reference, png)
    report = judged.report
    text = (
        f"{name} is refused ({engine}, {report.images} images of {report.source}): {_line(first)}, worst in image "
        f"{first.image + 1}: {png}."
    )
    if others:
        text += f" Also: {'; '.join(_line(item) for item in others[:_SHOWN])}."
    fix = diagnosis or refusal_advice(first, judged=judged, scheme=scheme)
    return GateError(f"{text} The artifact was not written. {fix}", agreement=report.label_agreement)


def refusal_advice(failure: Failure, *, judged: Judged, scheme: QuantizationScheme) -> str:
    """Return what usually helps against a failure of an artifact in a scheme."""
    report = judged.report
    images = "" if report.in_domain else " The images are unlike the net's own: give some of yours with --data DIR."
    if failure.measure.startswith("displacement"):
        return "A resize has other corners (align_corners, half-pixel centres) in the converted graph."
    if scheme.needs_ranges and failure.name:
        return (
            f'Calibrate on images that show "{failure.name}" (--calibration DIR), or keep the layers that '
            f"edgeseg debug-quant names in float.{images}"
        )
    if scheme.needs_ranges:
        return (
            "Calibrate on more images like those in use (--calibration DIR); edgeseg debug-quant names the layers "
            f"that lose most, which can stay in float; or convert to a float precision, if the target has one.{images}"
        )
    if report.arithmetic is not None:
        return f"Convert to fp32, or scale the weights down around {report.arithmetic.layer}.{images}"
    return "The converter or the engine is faulty: try another version of it, or another target."


def _line(failure: Failure) -> str:
    what = f'class "{failure.name}"' if failure.name else failure.measure
    return f"{what}: {failure.found} (required: {failure.required})"


def _write(judged: Judged, index: int, reference: Reference, png: Path) -> None:
    import cv2

    compared, image = judged.images[index], reference.images[index]
    palette = np.asarray(reference.spec.palette, np.uint8)[:, ::-1]
    size = (image.shape[1], image.shape[0])

    def enlarged(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        colours = palette[np.minimum(labels, len(palette) - 1)]
        return np.asarray(cv2.resize(colours, size, interpolation=cv2.INTER_NEAREST), np.uint8)

    wrong = np.asarray(cv2.resize(compared.wrong.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST), bool)
    difference = image // 2
    difference[wrong] = _WRONG
    panels = (image, enlarged(compared.wanted), enlarged(compared.given), difference)
    png.parent.mkdir(parents=True, exist_ok=True)
    done, data = cv2.imencode(".png", np.concatenate(panels, axis=1))
    if done:
        png.write_bytes(data.tobytes())
