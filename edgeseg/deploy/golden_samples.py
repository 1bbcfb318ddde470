"""The golden samples of a fresh artifact: images, labels and raw outputs that any engine can be tested with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeseg.core.artifact import Golden, GoldenSample
from edgeseg.core.files import sha256_of_bytes
from edgeseg.core.web_engines import WEB_ENGINES
from edgeseg.deploy.gate import thresholds_for
from edgeseg.errors import ConversionError
from edgeseg.pixels import prepare

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from edgeseg.core.artifact import Artifact, Manifest
    from edgeseg.core.quantization import QuantizationScheme
    from edgeseg.deploy.reference import Reference
    from edgeseg.runtime import Session

SAMPLES = 3
REPEATED: dict[int, float] = {11: 0.999, 0: 0.99}
"""Share of pixels in which another engine or CPU must repeat the golden labels, by the bits of the numbers."""
REPEATED_SQNR_DB: dict[int, float] = {24: 50.0, 11: 25.0, 0: 15.0}
"""Ratio in dB between golden logits and the error of repeated ones, by the bits of the numbers."""


def repeated_agreement(scheme: QuantizationScheme) -> float:
    """Return the share of pixels in which another engine or CPU must repeat the golden labels."""
    return _by_bits(REPEATED, scheme)


def write_samples(
    session: Session, outputs: Sequence[NDArray[Any]], *, reference: Reference, engines: tuple[str, ...]
) -> Golden:
    """Return the golden samples of an artifact that ran here, written into its folder; `outputs` are its raw ones."""
    artifact = session.artifact
    scheme, size = artifact.manifest.scheme, reference.spec.size
    samples = [
        _write(
            artifact,
            index,
            reference,
            tensor=session.preprocess(reference.images[index]),
            labels=session.decode(output, size=size),
            output=output,
        )
        for index, output in enumerate(outputs[:SAMPLES])
    ]
    least = repeated_agreement(scheme)
    return _golden(
        samples,
        engine=f"{session.engine} {session.engine_version}",
        least=least,
        tolerances={**dict.fromkeys(engines, least), **_in_browsers(artifact.manifest)},
        sqnr_db=_by_bits(REPEATED_SQNR_DB, scheme) if session.output.role == "logits" else None,
    )


def _in_browsers(manifest: Manifest) -> dict[str, float]:
    """Return the share that the browser's engine of the artifact's format must repeat."""
    least = repeated_agreement(manifest.scheme)
    is_int8 = least == REPEATED[0]
    return {
        engine.name: engine.int8_agreement if is_int8 else least
        for engine in WEB_ENGINES
        if engine.format == manifest.format
    }


def promised_samples(artifact: Artifact, *, reference: Reference) -> Golden:
    """Return the golden samples of an artifact that could not run here: the labels are the float checkpoint's."""
    manifest = artifact.manifest
    samples = [
        _write(
            artifact,
            index,
            reference,
            tensor=prepare(image, preprocess=manifest.preprocess, tensor=manifest.inputs[0]),
            labels=reference.labels(index),
            output=None,
        )
        for index, image in enumerate(reference.images[:SAMPLES])
    ]
    return _golden(samples, engine="", least=thresholds_for(manifest.scheme).label_agreement)


def _golden(
    samples: Sequence[GoldenSample],
    *,
    engine: str,
    least: float,
    tolerances: dict[str, float] | None = None,
    sqnr_db: float | None = None,
) -> Golden:
    first = samples[0]
    return Golden(
        image=first.image,
        input_sha256=first.input_sha256,
        expected=first.expected,
        reference=first.reference,
        output=first.output,
        engine=engine,
        min_agreement=least,
        more=tuple(samples[1:]),
        tolerances=tolerances or {},
        min_sqnr_db=sqnr_db,
    )


def _write(
    artifact: Artifact,
    index: int,
    reference: Reference,
    *,
    tensor: NDArray[Any],
    labels: NDArray[np.uint8],
    output: NDArray[Any] | None,
) -> GoldenSample:
    tail = "" if index == 0 else f"-{index + 1}"
    sample = GoldenSample(
        image=f"golden/input{tail}.png",
        input_sha256=sha256_of_bytes(tensor.tobytes()),
        expected=f"golden/expected{tail}.png",
        reference=f"golden/reference{tail}.png",
        output="" if output is None else f"golden/output{tail}.npy",
    )
    (artifact.folder / "golden").mkdir(exist_ok=True)
    write_png(artifact.folder / sample.image, reference.images[index])
    write_png(artifact.folder / sample.expected, labels)
    write_png(artifact.folder / sample.reference, reference.labels(index))
    if output is not None:
        np.save(artifact.folder / sample.output, np.ascontiguousarray(output), allow_pickle=False)
    return sample


def write_png(path: Path, image: NDArray[np.uint8]) -> None:
    """Write an image (H, W, 3) BGR or a label map (H, W) as PNG; raises `ConversionError`."""
    import cv2

    done, data = cv2.imencode(".png", image)
    if not done:
        raise ConversionError(f"{path.name}: OpenCV cannot write a PNG of {image.shape} {image.dtype}.")
    path.write_bytes(data.tobytes())


def _by_bits(shares: dict[int, float], scheme: QuantizationScheme) -> float:
    return next(share for bits, share in sorted(shares.items(), reverse=True) if scheme.precision_bits >= bits)
