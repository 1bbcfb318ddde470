"""The golden samples: proof that an artifact gives the same labels here as where it was made."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeseg.core.artifact import Artifact, open_artifact
from edgeseg.core.receipt import RECEIPT_SCHEMA, ProofReceipt
from edgeseg.core.trust import remember
from edgeseg.core.version import VERSION
from edgeseg.core.web_engines import WEB_ENGINES
from edgeseg.errors import ArtifactError, GateError
from edgeseg.runtime.session.engine_choice import choose_engine
from edgeseg.runtime.session.isolated import Limits, run_isolated
from edgeseg.runtime.session.session import open_session

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

MOST_PIXELS = 1 << 26
"""A golden image has the input's size; a larger one is a decompression bomb."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """A passed verification: shares of pixels that agree with the expected labels and with those of float PyTorch.

    The shares are those of the worst of `samples` golden samples, and so is `sqnr_db`, the ratio in dB between the
    golden logits and their error; None where no golden output is stored, or for a browser, whose labels alone count.
    An adopted file (`foreign`) has no float checkpoint: both are shares of its own labels.
    """

    artifact: str
    artifact_sha256: str
    files: int
    engine: str
    engine_version: str
    delegate: str
    threads: int
    input_matches: bool
    agreement: float
    min_agreement: float
    reference_agreement: float
    foreign: bool = False
    samples: int = 1
    sqnr_db: float | None = None
    min_sqnr_db: float | None = None


def verify(
    folder: Path | str, *, engine: str | None = None, threads: int | None = None, limits: Limits | None = None
) -> Verification:
    """Return the proof that the artifact in `folder` is intact and that `engine` repeats its golden sample.

    The engine runs in a separate process, within `limits`: nothing in the artifact is trusted. An artifact that passes
    is known from then on (`edgeseg.core.trust`), so that `load` opens it directly.

    Raises:
        GateError: the input tensor differs from the one at conversion, too few labels agree, or the logits differ.
        ArtifactError: as `load` does; also where the engine crashes, hangs or takes too much memory on the model.
        MissingDependency, UnknownName, UnsupportedError: as `load` does.
    """
    artifact = open_artifact(folder)
    found = try_out(Path(folder), engine=engine, threads=threads, limits=limits)
    check_verification(found, Path(folder))
    remember(artifact, how="ran", engine=found.engine)
    return found


def try_out(
    folder: Path, *, engine: str | None = None, threads: int | None = None, limits: Limits | None = None
) -> Verification:
    """Return how the golden sample compares in a process of its own, at any agreement; raises as `verify` does."""
    return run_isolated(
        compare_with_golden,
        Verification,
        folder=folder,
        engine=engine,
        threads=threads,
        limits=limits or Limits(),
    )


def compare_with_golden(
    folder: Path, *, engine: str | None, threads: int | None, prepare: Callable[[], None] | None = None
) -> Verification:
    """Return how an artifact's golden sample compares here; `prepare` is called before the engine opens the model."""
    artifact = open_artifact(folder)
    choose_engine(artifact.manifest, name=engine)  # imports its library, so that `prepare` does not count it
    images = [_read(artifact, sample.image, color=True) for sample in artifact.manifest.golden.samples]
    if prepare is not None:
        prepare()
    with open_session(artifact, engine=engine, threads=threads) as session:
        tensors = [session.preprocess(image) for image in images]
        return compare_outputs(
            artifact,
            outputs=[session.infer(tensor).copy() for tensor in tensors],  # engines reuse their buffers
            inputs_sha256=[hashlib.sha256(tensor.tobytes()).hexdigest() for tensor in tensors],
            engine=session.engine,
            engine_version=session.engine_version,
            delegate=session.options.get("delegate", session.backend.delegate),
            threads=session.threads,
        )


def compare_outputs(
    artifact: Artifact,
    *,
    outputs: Sequence[NDArray[Any]],
    inputs_sha256: Sequence[str],
    engine: str,
    engine_version: str,
    delegate: str,
    threads: int,
) -> Verification:
    """Return how an engine's raw outputs of the golden images compare, whichever machine computed them.

    `inputs_sha256` are the hashes of the input tensors that it made of the images. Both are in the samples' order.
    """
    from edgeseg.pixels import decode

    manifest, golden = artifact.manifest, artifact.manifest.golden
    matches, expected, reference, ratios = [], [], [], []
    judges_logits = golden.min_sqnr_db is not None and engine not in {item.name for item in WEB_ENGINES}
    for sample, output, sha256 in zip(golden.samples, outputs, inputs_sha256, strict=True):
        matches.append(sha256 == sample.input_sha256)
        if judges_logits and sample.output:
            ratios.append(_sqnr_db(output, artifact.folder / sample.output))
        wanted = _read(artifact, sample.expected, color=False)
        labels = decode(
            output,
            tensor=manifest.outputs[0],
            preprocess=manifest.preprocess,
            input_size=manifest.inputs[0].size,
            size=(wanted.shape[0], wanted.shape[1]),
        )
        expected.append(_share_equal(labels, wanted))
        reference.append(_share_equal(labels, _read(artifact, sample.reference, color=False)))
    return Verification(
        artifact=manifest.name,
        artifact_sha256=artifact.sha256,
        files=len(manifest.files),
        engine=engine,
        engine_version=engine_version,
        delegate=delegate,
        threads=threads,
        input_matches=all(matches),
        agreement=min(expected),
        min_agreement=golden.tolerances.get(engine, golden.min_agreement),
        reference_agreement=min(reference),
        samples=len(golden.samples),
        foreign=manifest.origin == "foreign",
        sqnr_db=min(ratios, default=None),
        min_sqnr_db=golden.min_sqnr_db if ratios else None,
    )


def receipt_of(found: Verification, *, device: str) -> ProofReceipt:
    """Return the receipt of a verification that was made now, on `device`."""
    return ProofReceipt(
        schema=RECEIPT_SCHEMA,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        edgeseg_version=VERSION,
        artifact=found.artifact,
        artifact_sha256=found.artifact_sha256,
        device=device,
        engine=found.engine,
        engine_version=found.engine_version,
        delegate=found.delegate,
        threads=found.threads,
        agreement=found.agreement,
        min_agreement=found.min_agreement,
        reference_agreement=found.reference_agreement,
    )


def check_verification(
    found: Verification, folder: Path, *, advice: str = "Try another --engine or another version of it."
) -> None:
    """Check a comparison with the golden samples of the artifact in `folder`; `advice` ends the message of a failure.

    Raises:
        GateError: the input tensor differs from the one at conversion, too few labels agree, or the logits differ.
    """
    if not found.input_matches:
        raise GateError(
            f"{folder}: the input tensor made here from the golden image is not the one made at conversion: "
            "preprocessing differs. Use the same edgeseg version on both machines."
        )
    if not found.agreement >= found.min_agreement:
        raise GateError(
            f"{folder}: {found.engine} {found.engine_version} repeats {100 * found.agreement:.2f} % of the golden "
            f"labels; required: {100 * found.min_agreement:.2f} %. {advice}",
            agreement=found.agreement,
        )
    if found.sqnr_db is not None and found.min_sqnr_db is not None and found.sqnr_db < found.min_sqnr_db:
        raise GateError(
            f"{folder}: {found.engine} {found.engine_version} repeats the golden labels, but its logits differ from "
            f"the golden ones: {found.sqnr_db:.1f} dB; required: {found.min_sqnr_db:.1f} dB. {advice}"
        )


def _sqnr_db(output: NDArray[Any], path: Path) -> float:
    """Return the ratio in dB between the golden output at `path` and an output's error; the least there is for NaN."""
    from edgeseg.metrics.agreement import LARGEST_SQNR_DB, decibel

    try:
        wanted = np.load(path, mmap_mode="r", allow_pickle=False)  # a header may claim more than the file holds
    except (ValueError, OSError, EOFError) as error:
        raise ArtifactError(f"{path}: cannot be read: {error}. Copy or convert the artifact again.") from None
    if wanted.shape != output.shape:
        raise ArtifactError(
            f"{path}: has the shape {wanted.shape}; the engine's output has {output.shape}. Convert again."
        )
    if not np.isfinite(output).all():
        return -LARGEST_SQNR_DB
    golden = wanted.astype(np.float64)
    lost = float(np.square(output.astype(np.float64) - golden).sum())
    return decibel(float(np.square(golden - golden.mean()).sum()), lost)


def _share_equal(labels: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    if labels.shape != other.shape:
        raise ArtifactError(f"Golden label maps differ in size: {labels.shape} and {other.shape}. Convert again.")
    return float(np.mean(labels == other))


def _read(artifact: Artifact, name: str, *, color: bool) -> NDArray[np.uint8]:
    import cv2

    path = artifact.folder / name
    content = path.read_bytes()
    # Width and height of a PNG, the first two numbers of its IHDR chunk: readable before anything is decoded.
    sides = (int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big"))
    if content[:8] != b"\x89PNG\r\n\x1a\n" or not 0 < sides[0] * sides[1] <= MOST_PIXELS:
        raise ArtifactError(f"{path}: the golden sample is not a PNG of the input's size. Copy or convert it again.")
    flags = cv2.IMREAD_COLOR if color else cv2.IMREAD_UNCHANGED
    image = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    if image is None:
        raise ArtifactError(f"{path}: the golden sample cannot be read as a PNG. Copy or convert the artifact again.")
    return np.asarray(image, np.uint8)
