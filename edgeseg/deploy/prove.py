"""The proof of a fresh artifact: run on its engine against the float checkpoint, before anything is written."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeseg.core.artifact import Artifact, Golden, Parity
from edgeseg.core.files import sha256_of_bytes
from edgeseg.core.spec import ModelSpec, TensorSpec
from edgeseg.errors import ConversionError, GateError
from edgeseg.pixels import decode, fit, prepare, real_logits

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import nn

    from edgeseg.core.quantization import Precision
    from edgeseg.models.checkpoint import Checkpoint
    from edgeseg.runtime import Session

LEAST_AGREEMENT: dict[Precision, float] = {"fp32": 0.999, "fp16": 0.985, "int8": 0.90}
"""Share of pixels in which an artifact must give the float checkpoint's label. float32 differs by the order of sums;
float16 by rounding near ties, of which images unlike the training data are full (rounding the weights alone moves
0.1 % to 0.7 % of their labels, the same on every engine); int8 moves class borders by a pixel or so, and what it may
cost in mIoU is for `edgeseg validate` to say: below these shares something is broken, not rounded."""
REPEATED: dict[Precision, float] = {"fp32": 0.999, "fp16": 0.999, "int8": 0.99}
"""Share of pixels in which another engine or CPU must repeat the golden labels."""
LARGEST_SQNR_DB = 200.0
"""Stands for equal to the last bit, whose ratio would be infinite."""
PROOF_IMAGES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What the float checkpoint in PyTorch gives: images (H, W, 3) BGR uint8 at the input's size, the golden one
    first, their logits (1, h, w, C) float32, and the logits' description.
    """

    spec: ModelSpec
    images: tuple[np.ndarray, ...]
    logits: tuple[np.ndarray, ...]
    tensor: TensorSpec

    def labels(self, index: int) -> np.ndarray:
        """Return the float checkpoint's class ids (H, W) uint8 at the input's size."""
        size, preprocess = self.spec.size, self.spec.preprocess
        return decode(self.logits[index], tensor=self.tensor, preprocess=preprocess, input_size=size, size=size)


def make_reference(checkpoint: Checkpoint, *, spec: ModelSpec, images: Sequence[np.ndarray]) -> Reference:
    """Return the float checkpoint's answers to the golden image and to `images`, BGR of any size.

    `spec` is the checkpoint's at the size that is converted.
    """
    from edgeseg.export.export import deploy
    from edgeseg.export.golden import golden_image
    from edgeseg.export.head import answer_spec, image_spec

    golden = _to_bgr(golden_image(spec), spec)
    fitted = tuple(_to_bgr(fit(image, preprocess=spec.preprocess, size=spec.size), spec) for image in images)
    net = deploy(checkpoint, spec=spec, output="logits")
    taken = (golden, *fitted)
    tensor = image_spec(spec)
    tensors = (prepare(image, preprocess=spec.preprocess, tensor=tensor) for image in taken)
    answers = tuple(_answer(net, item) for item in tensors)
    return Reference(spec=spec, images=taken, logits=answers, tensor=answer_spec(spec, output="logits"))


def prove(session: Session, *, reference: Reference) -> tuple[Golden, Parity]:
    """Return the golden sample, written into the artifact's folder, and the parity on the reference's images.

    Raises:
        ConversionError: the engine gives an output of another shape than the manifest says.
        GateError: fewer labels than `LEAST_AGREEMENT` agree with the float checkpoint.
    """
    outputs = [_run(session, image) for image in reference.images]
    size = reference.spec.size
    labels = [session.decode(output, size=size) for output in outputs]
    parity = _parity(session, outputs, labels, reference)
    precision = session.artifact.manifest.scheme.name
    if parity.label_agreement < LEAST_AGREEMENT[precision]:
        raise GateError(
            f"{session.artifact.manifest.name}: {100 * parity.label_agreement:.2f} % of the labels agree with the "
            f"float checkpoint on {parity.images} images ({session.engine}); {precision} needs "
            f"{100 * LEAST_AGREEMENT[precision]:.1f} %. Nothing was written.{_advice(precision)}"
        )
    return _golden(session, labels[0], reference), parity


def _advice(precision: Precision) -> str:
    if precision == "int8":
        return " Calibrate on more images like those in use (--calibration), or convert to fp16."
    return " The converter or the engine is at fault: try another version of it, or another target."


def _run(session: Session, image: np.ndarray) -> np.ndarray:
    output = session.infer(session.preprocess(image))
    if output.shape != session.output.shape:
        raise ConversionError(
            f"{session.artifact.manifest.name}: {session.engine} gives an output of {output.shape}, the converter "
            f"promised {session.output.shape}."
        )
    if output.dtype.kind == "f" and not np.isfinite(output).all():
        raise GateError(f"{session.artifact.manifest.name}: {session.engine} gives NaN or infinity.")
    return output


def _parity(session: Session, outputs: list[np.ndarray], labels: list[np.ndarray], reference: Reference) -> Parity:
    equal = [float(np.mean(mine == reference.labels(index))) for index, mine in enumerate(labels)]
    sqnr_db, worst = None, None
    if session.output.role == "logits":
        given = np.concatenate([real_logits(output, session.output) for output in outputs])
        wanted = np.concatenate(reference.logits)
        sqnr_db, worst = sqnr(wanted, given), float(np.abs(given - wanted).max())
    return Parity(
        engine=f"{session.engine} {session.engine_version}",
        images=len(outputs),
        sqnr_db=sqnr_db,
        label_agreement=float(np.mean(equal)),
        max_abs_error=worst,
    )


def sqnr(wanted: np.ndarray, given: np.ndarray) -> float:
    """Return the ratio of the signal's power to that of the error in dB, at most `LARGEST_SQNR_DB`."""
    error = float(np.square(given.astype(np.float64) - wanted).sum())
    power = float(np.square(wanted.astype(np.float64)).sum())
    if error == 0.0:
        return LARGEST_SQNR_DB
    return min(LARGEST_SQNR_DB, 10.0 * math.log10(max(power, 1e-300) / error))


def _golden(session: Session, labels: np.ndarray, reference: Reference) -> Golden:
    manifest = session.artifact.manifest
    golden = Golden(
        image="golden/input.png",
        input_sha256=sha256_of_bytes(session.preprocess(reference.images[0]).tobytes()),
        expected="golden/expected.png",
        reference="golden/reference.png",
        engine=f"{session.engine} {session.engine_version}",
        min_agreement=REPEATED[manifest.scheme.name],
    )
    folder = session.artifact.folder
    (folder / "golden").mkdir(exist_ok=True)
    _write_png(folder / golden.image, reference.images[0])
    _write_png(folder / golden.expected, labels)
    _write_png(folder / golden.reference, reference.labels(0))
    return golden


def _write_png(path: Path, image: np.ndarray) -> None:
    import cv2

    done, data = cv2.imencode(".png", image)
    if not done:
        raise ConversionError(f"{path.name}: OpenCV cannot write a PNG of {image.shape} {image.dtype}.")
    path.write_bytes(data.tobytes())


def _to_bgr(image: np.ndarray, spec: ModelSpec) -> np.ndarray:
    swapped = image[..., ::-1] if spec.preprocess.color_order == "rgb" else image
    return np.ascontiguousarray(swapped)


def _answer(net: nn.Module, tensor: np.ndarray) -> np.ndarray:
    import torch

    with torch.no_grad():
        answer: np.ndarray = net(torch.from_numpy(tensor)).numpy()
    return np.ascontiguousarray(answer)


def open_session(artifact: Artifact) -> Session:
    """Return a session on an artifact whose manifest is not on disk yet, on the engine that fits this machine.

    Raises:
        MissingDependency: no engine for the format is installed here.
    """
    from edgeseg.runtime.session import session

    return session.open_session(artifact)
