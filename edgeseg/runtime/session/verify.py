"""The golden sample: proof that an artifact gives on this machine what it gave where it was made."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeseg.errors import ArtifactError, GateError
from edgeseg.runtime.session.session import Session, load


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """An artifact that held: shares of equal pixels with the expected labels and with those of float PyTorch."""

    artifact: str
    artifact_sha256: str
    files: int
    engine: str
    engine_version: str
    threads: int
    input_matches: bool
    agreement: float
    min_agreement: float
    reference_agreement: float


def verify(folder: Path | str, *, engine: str | None = None, threads: int | None = None) -> Verification:
    """Return the proof that the artifact in `folder` is intact and that `engine` repeats its golden sample.

    Raises:
        GateError: the input tensor differs from the one at conversion, or too few labels agree.
        ArtifactError, MissingDependency, UnknownName, UnsupportedError: as `load` does.
    """
    with load(folder, engine=engine, threads=threads) as session:
        found = _compare(session)
    _gate(found, Path(folder))
    return found


def _compare(session: Session) -> Verification:
    artifact = session.artifact
    golden = artifact.manifest.golden
    tensor = session.preprocess(_read(artifact.folder / golden.image, color=True))
    expected = _read(artifact.folder / golden.expected, color=False)
    reference = _read(artifact.folder / golden.reference, color=False)
    labels = session.decode(session.infer(tensor), size=(expected.shape[0], expected.shape[1]))
    return Verification(
        artifact=artifact.manifest.name,
        artifact_sha256=artifact.sha256,
        files=len(artifact.manifest.files),
        engine=session.engine,
        engine_version=session.engine_version,
        threads=session.threads,
        input_matches=hashlib.sha256(tensor.tobytes()).hexdigest() == golden.input_sha256,
        agreement=_share_equal(labels, expected),
        min_agreement=golden.min_agreement,
        reference_agreement=_share_equal(labels, reference),
    )


def _gate(found: Verification, folder: Path) -> None:
    if not found.input_matches:
        raise GateError(
            f"{folder}: the input tensor made here from the golden image is not the one made at conversion: "
            "preprocessing differs. Use the same edgeseg version on both machines."
        )
    if found.agreement < found.min_agreement:
        raise GateError(
            f"{folder}: {found.engine} {found.engine_version} repeats {100 * found.agreement:.2f} % of the golden "
            f"labels; {100 * found.min_agreement:.2f} % are asked for. Try another --engine or another version of it."
        )


def _share_equal(labels: np.ndarray, other: np.ndarray) -> float:
    if labels.shape != other.shape:
        raise ArtifactError(f"Golden label maps of unlike sizes: {labels.shape} and {other.shape}. Convert again.")
    return float(np.mean(labels == other))


def _read(path: Path, *, color: bool) -> np.ndarray:
    import cv2

    image = cv2.imread(str(path), cv2.IMREAD_COLOR if color else cv2.IMREAD_UNCHANGED)
    if image is None:
        raise ArtifactError(f"{path}: the golden sample cannot be read as a PNG. Copy or convert the artifact again.")
    return np.asarray(image)
