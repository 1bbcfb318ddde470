"""The proof of a fresh artifact: run on its engine against the float checkpoint, before anything is written."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeseg.core.artifact import Artifact, Golden, Parity
from edgeseg.core.files import sha256_of_bytes
from edgeseg.core.proof import Proof
from edgeseg.core.spec import ModelSpec, TensorSpec
from edgeseg.deploy.manifest import NO_PARITY
from edgeseg.errors import ConversionError, GateError, UnsupportedError
from edgeseg.pixels import decode, fit, prepare, real_logits

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import nn

    from edgeseg.core.exported import Conversion
    from edgeseg.core.protocols import Engine
    from edgeseg.core.quantization import QuantizationScheme
    from edgeseg.models.checkpoint import Checkpoint
    from edgeseg.runtime import Session

LEAST_AGREEMENT: dict[int, float] = {24: 0.999, 11: 0.985, 0: 0.90}
"""Share of pixels in which an artifact must give the float checkpoint's label, by the bits of its numbers.

From 24 bits (float32) on, only the order of sums differs. 11 bits (float16) flip near ties, which are common in images
unlike the training data: rounding the weights alone changes 0.1 % to 0.7 % of their labels, the same on every engine.
Fewer bits (int8, bfloat16) move class borders by about a pixel; `edgeseg validate` measures the cost in mIoU. Below
these shares something is broken, not rounded.
"""
REPEATED: dict[int, float] = {11: 0.999, 0: 0.99}
"""Share of pixels in which another engine or CPU must repeat the golden labels, by the bits of the numbers."""
LARGEST_SQNR_DB = 200.0
"""Reported for bit-exact outputs, whose ratio would be infinite."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """The float checkpoint's outputs in PyTorch.

    `images` are (H, W, 3) BGR uint8 at the input's size, the golden one first, `logits` are (1, h, w, C) float32, and
    `tensor` describes the logits. `macs` are the net's multiply-accumulates per image.
    """

    spec: ModelSpec
    images: tuple[NDArray[np.uint8], ...]
    logits: tuple[NDArray[np.float32], ...]
    tensor: TensorSpec
    macs: int

    def labels(self, index: int) -> NDArray[np.uint8]:
        """Return the float checkpoint's class ids (H, W) uint8 at the input's size."""
        size, preprocess = self.spec.size, self.spec.preprocess
        return decode(self.logits[index], tensor=self.tensor, preprocess=preprocess, input_size=size, size=size)


def make_reference(checkpoint: Checkpoint, *, spec: ModelSpec, images: Sequence[NDArray[np.uint8]]) -> Reference:
    """Return the float checkpoint's outputs for the golden image and for `images`, BGR of any size.

    `spec` is the checkpoint's at the size that is converted.
    """
    from edgeseg.export.export import deploy
    from edgeseg.export.golden import golden_image
    from edgeseg.export.head import answer_spec, image_spec, taking_pixels

    spec = taking_pixels(spec)
    fitted = tuple(_to_bgr(fit(image, preprocess=spec.preprocess, size=spec.size), spec) for image in images)
    net = deploy(checkpoint, spec=spec, output="logits")
    taken = (golden_image(spec), *fitted)
    tensor = image_spec(spec)
    tensors = (prepare(image, preprocess=spec.preprocess, tensor=tensor) for image in taken)
    logits, macs = _counted(net, tensors)
    return Reference(spec=spec, images=taken, logits=logits, tensor=answer_spec(spec, output="logits"), macs=macs)


def least_agreement(scheme: QuantizationScheme) -> float:
    """Return the share of pixels in which an artifact of a scheme must give the float checkpoint's label."""
    return _by_bits(LEAST_AGREEMENT, scheme)


def repeated_agreement(scheme: QuantizationScheme) -> float:
    """Return the share of pixels in which another engine or CPU must repeat the golden labels."""
    return _by_bits(REPEATED, scheme)


def _by_bits(shares: dict[int, float], scheme: QuantizationScheme) -> float:
    return next(share for bits, share in sorted(shares.items(), reverse=True) if scheme.precision_bits >= bits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven:
    """The golden sample, the parity and the level of the proof, for the manifest."""

    golden: Golden
    parity: Parity
    proof: Proof


def prove_here(artifact: Artifact, conversion: Conversion, *, reference: Reference) -> Proven:
    """Return the proof that this machine can give of an artifact whose manifest is not on disk yet.

    The first engine of `conversion.provable_by` that is installed runs it. Without one the level is "none", the reason
    says which engine is missing, and the golden sample has the float checkpoint's labels, so that `verify` on a device
    proves as much as a proof here would have.

    Raises:
        ConversionError: the engine's output has another shape than the converter declared.
        GateError: fewer labels than `least_agreement` agree with the float checkpoint.
    """
    engine, reason = engine_here(conversion, preferred=artifact.manifest.engine)
    if engine is None:
        return Proven(golden=_promised(artifact, reference), parity=NO_PARITY, proof=Proof(level="none", reason=reason))
    try:
        opened = open_for_proof(artifact, engine=engine.name)
    except UnsupportedError as error:
        if engine.proof != "reference":
            raise
        # Our evaluator lacks an op that the device's own engine has.
        return Proven(
            golden=_promised(artifact, reference), parity=NO_PARITY, proof=Proof(level="none", reason=str(error))
        )
    with opened as session:
        golden, parity = prove(session, reference=reference)
    return Proven(golden=golden, parity=parity, proof=Proof(level=engine.proof, engine=engine.name, reason=reason))


def engine_here(conversion: Conversion, *, preferred: str) -> tuple[Engine | None, str]:
    """Return the first engine that can run a conversion here, and why earlier ones cannot."""
    from edgeseg.core import registry
    from edgeseg.core.protocols import Engine

    if not conversion.provable_by:
        return None, "no engine runs this format here"
    reasons: list[str] = []
    for name in sorted(conversion.provable_by, key=lambda name: name != preferred):
        found = registry.load_plugin("engines", name)
        if isinstance(found, Engine):
            status = found.status()
            if status.available:
                return found, "; ".join(reasons)
            reasons.append(f"{name}: {status.reason} {status.fix}".strip())
    return None, "; ".join(reasons)


def prove(session: Session, *, reference: Reference) -> tuple[Golden, Parity]:
    """Return the golden sample, written into the artifact's folder, and the parity on the reference's images.

    Raises:
        ConversionError: the engine gives an output of another shape than the manifest says.
        GateError: fewer labels than `least_agreement` agree with the float checkpoint.
    """
    outputs = [_run(session, image) for image in reference.images]
    size = reference.spec.size
    labels = [session.decode(output, size=size) for output in outputs]
    parity = _parity(session, outputs, labels, reference)
    manifest = session.artifact.manifest
    required = least_agreement(manifest.scheme)
    if parity.label_agreement < required:
        raise GateError(
            f"{manifest.name}: {100 * parity.label_agreement:.2f} % of the labels agree with the float checkpoint on "
            f"{parity.images} images ({session.engine}); required for {manifest.scheme.name}: {100 * required:.1f} %. "
            f"Nothing was written.{_advice(manifest.scheme)}"
        )
    return _golden(session, labels[0], reference), parity


def _advice(scheme: QuantizationScheme) -> str:
    if scheme.needs_ranges:
        return " Calibrate on more images like those in use (--calibration), or convert to fp16."
    return " The converter or the engine is faulty: try another version of it, or another target."


def _run(session: Session, image: NDArray[np.uint8]) -> NDArray[Any]:
    output = session.infer(session.preprocess(image))
    if output.shape != session.output.shape:
        raise ConversionError(
            f"{session.artifact.manifest.name}: {session.engine} gives an output of {output.shape}; the converter "
            f"declared {session.output.shape}."
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


def _golden(session: Session, labels: NDArray[np.uint8], reference: Reference) -> Golden:
    artifact = session.artifact
    return _write_golden(
        artifact,
        labels,
        reference,
        tensor=session.preprocess(reference.images[0]),
        engine=f"{session.engine} {session.engine_version}",
        least=repeated_agreement(artifact.manifest.scheme),
    )


def _promised(artifact: Artifact, reference: Reference) -> Golden:
    """Write the golden sample of an artifact that could not run here: the labels are the float checkpoint's."""
    manifest = artifact.manifest
    image = reference.images[0]
    tensor = prepare(image, preprocess=manifest.preprocess, tensor=manifest.inputs[0])
    return _write_golden(
        artifact, reference.labels(0), reference, tensor=tensor, engine="", least=least_agreement(manifest.scheme)
    )


def _write_golden(
    artifact: Artifact,
    labels: NDArray[np.uint8],
    reference: Reference,
    *,
    tensor: NDArray[Any],
    engine: str,
    least: float,
) -> Golden:
    golden = Golden(
        image="golden/input.png",
        input_sha256=sha256_of_bytes(tensor.tobytes()),
        expected="golden/expected.png",
        reference="golden/reference.png",
        engine=engine,
        min_agreement=least,
    )
    (artifact.folder / "golden").mkdir(exist_ok=True)
    write_png(artifact.folder / golden.image, reference.images[0])
    write_png(artifact.folder / golden.expected, labels)
    write_png(artifact.folder / golden.reference, reference.labels(0))
    return golden


def write_png(path: Path, image: np.ndarray) -> None:
    """Write an image (H, W, 3) BGR or a label map (H, W), uint8, as PNG."""
    import cv2

    done, data = cv2.imencode(".png", image)
    if not done:
        raise ConversionError(f"{path.name}: OpenCV cannot write a PNG of {image.shape} {image.dtype}.")
    path.write_bytes(data.tobytes())


def _to_bgr(image: np.ndarray, spec: ModelSpec) -> np.ndarray:
    swapped = image[..., ::-1] if spec.preprocess.color_order == "rgb" else image
    return np.ascontiguousarray(swapped)


def _counted(net: nn.Module, tensors: Iterable[NDArray[Any]]) -> tuple[tuple[NDArray[np.float32], ...], int]:
    """Return the logits of each tensor, and the multiply-accumulates of one, as torch's flop counter counts them."""
    from torch.utils.flop_counter import FlopCounterMode

    first, *rest = tensors
    with FlopCounterMode(display=False) as counter:
        logits = _logits(net, first)
    return (logits, *(_logits(net, item) for item in rest)), counter.get_total_flops() // 2


def _logits(net: nn.Module, tensor: np.ndarray) -> np.ndarray:
    import torch

    with torch.no_grad():
        found: np.ndarray = net(torch.from_numpy(tensor)).numpy()
    return np.ascontiguousarray(found)


def open_for_proof(artifact: Artifact, *, engine: str | None = None) -> Session:
    """Return a session on an artifact whose manifest is not on disk yet, on `engine` or one that fits this machine.

    Raises:
        MissingDependency: no engine for the format is installed here.
    """
    from edgeseg.runtime.session import session

    return session.open_session(artifact, engine=engine)
