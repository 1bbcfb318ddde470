"""The fastest precision and head that loses little enough: each candidate is converted, proven, timed and compared."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgeseg.core.artifact import MANIFEST, Artifact, open_artifact
from edgeseg.core.choice import Candidate, Choice
from edgeseg.core.files import MARKER, new_folder, write_json
from edgeseg.core.quantization import scheme_named
from edgeseg.errors import ConversionError, GateError, UnsupportedError
from edgeseg.metrics.confusion import ConfusionMatrix

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from edgeseg.deploy.reference import Reference
    from edgeseg.runtime import Session

ROUNDS, WARM_UP = 15, 3
NOISE = 0.03
"""Medians that differ by less are equally fast."""
LONGEST_REASON = 600
"""Characters; the reason of a refused candidate ends with the path of its image."""
EXACT = ("logits", "full")
"""Heads whose labels are those of the logits enlarged to the image's size; label maps at a stride are coarser."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What may be chosen: precisions, heads, and the most that may be lost (None: exact heads of any precision)."""

    precisions: tuple[str, ...]
    outputs: tuple[str, ...]
    max_drop: float | None
    display: tuple[int, int] | None = None


def choose(
    rules: Rules,
    *,
    make: Callable[[str, str, Path], Artifact],
    reference: Reference,
    finish: Callable[[str, str], Path],
) -> Artifact:
    """Return the artifact of the fastest candidate within the rules, written where `finish(precision, output)` says.

    `make(precision, output, folder)` converts one, in a temporary folder. A candidate that is slower than another of no
    larger drop is never chosen.

    Raises:
        GateError: no candidate is within `max_drop`.
    """
    with tempfile.TemporaryDirectory(prefix="edgeseg-") as workdir:
        made: dict[tuple[str, str], Artifact] = {}
        refused: list[Candidate] = []
        for precision in rules.precisions:
            for output in rules.outputs:
                try:
                    folder = Path(workdir) / f"{precision}-{output}"
                    made[precision, output] = make(precision, output, folder)
                except (GateError, ConversionError, UnsupportedError) as error:
                    refused.append(Candidate(precision=precision, output=output, reason=_first_sentence(error)))
        if not made:
            raise GateError(f"No candidate could be made. {' '.join(f'{item.reason}.' for item in refused)}")
        choice = _measured(made, rules, reference=reference, refused=tuple(refused))
        best = next((item for item in choice.candidates if item.chosen), None)
        if best is None:
            least = min(item.drop for item in choice.candidates if item.drop is not None)
            raise GateError(
                f"No candidate loses at most {100 * (rules.max_drop or 0):.2f} points of {choice.measure}: the least "
                f"is {100 * least:.2f}. Allow more (--max-drop), or give better calibration images."
            )
        winner = made[best.precision, best.output]
        return _written(winner, choice, path=finish(best.precision, best.output))


def usable(precisions: Sequence[str], *, has_ranges: bool) -> tuple[str, ...]:
    """Return the precisions that can be tried: those with integer activations only where there are ranges."""
    return tuple(name for name in precisions if has_ranges or not scheme_named(name).needs_ranges)


def decide(candidates: Sequence[Candidate], *, max_drop: float | None) -> tuple[Candidate, ...]:
    """Return the candidates with the chosen one marked, each with the reason.

    >>> fast = Candidate(precision="int8", output="logits", p50_ms=2.0, drop=0.02)
    >>> slow = Candidate(precision="fp32", output="logits", p50_ms=5.0, drop=0.0)
    >>> [item.reason for item in decide((fast, slow), max_drop=0.01)]
    ['loses more than 1.00 points', 'the fastest that is allowed']
    """
    allowed = [item for item in candidates if _is_allowed(item, max_drop)]
    fastest = min((item.p50_ms for item in allowed if item.p50_ms is not None), default=0.0)
    # Among the equally fast, the one that loses least, then the smallest.
    equal = [item for item in allowed if item.p50_ms is not None and item.p50_ms <= fastest * (1 + NOISE)]
    best = min(equal, key=lambda item: (item.drop or 0.0, item.size_bytes or 0), default=None)
    return tuple(_explained(item, best, max_drop=max_drop) for item in candidates)


def _is_allowed(item: Candidate, max_drop: float | None) -> bool:
    if item.p50_ms is None or item.drop is None:
        return False
    return item.output in EXACT if max_drop is None else item.drop <= max_drop


def _explained(item: Candidate, best: Candidate | None, *, max_drop: float | None) -> Candidate:
    if item.p50_ms is None:
        return item
    if item is best:
        return dataclasses.replace(item, chosen=True, reason="the fastest that is allowed")
    if not _is_allowed(item, max_drop):
        reason = "coarser labels" if max_drop is None else f"loses more than {100 * max_drop:.2f} points"
        return dataclasses.replace(item, reason=reason)
    assert best is not None
    assert best.p50_ms is not None
    ratio = item.p50_ms / best.p50_ms
    reason = f"{ratio:.2f} times as slow" if ratio > 1 + NOISE else "as fast, and loses more or is larger"
    return dataclasses.replace(item, reason=reason)


def _measured(
    made: dict[tuple[str, str], Artifact], rules: Rules, *, reference: Reference, refused: tuple[Candidate, ...]
) -> Choice:
    from edgeseg.deploy.prove import open_for_proof

    display = rules.display or reference.spec.size
    sessions = {key: open_for_proof(artifact) for key, artifact in made.items()}
    try:
        times = _times(sessions, image=reference.images[0], display=display)
        drops = {key: _drop(session, reference) for key, session in sessions.items()}
        first = next(iter(sessions.values()))
        engine, threads = f"{first.engine} {first.engine_version}", first.threads
    finally:
        for session in sessions.values():
            session.close()
    candidates = [
        Candidate(precision=key[0], output=key[1], p50_ms=times[key], drop=drops[key], size_bytes=made[key].size_bytes)
        for key in made
    ]
    return Choice(
        engine=engine,
        threads=threads,
        display=display,
        measure="mIoU" if reference.truths else "labels",
        max_drop=rules.max_drop,
        candidates=(*decide(candidates, max_drop=rules.max_drop), *refused),
    )


def _times(
    sessions: dict[tuple[str, str], Session], *, image: NDArray[np.uint8], display: tuple[int, int]
) -> dict[tuple[str, str], float]:
    """Return the median of each session's inference and decoding in ms; they take turns, under the same load."""
    tensors = {key: session.preprocess(image) for key, session in sessions.items()}
    taken: dict[tuple[str, str], list[float]] = {key: [] for key in sessions}
    for turn in range(WARM_UP + ROUNDS):
        for key, session in sessions.items():
            started = time.perf_counter()
            session.decode(session.infer(tensors[key]), size=display)
            if turn >= WARM_UP:
                taken[key].append(1000 * (time.perf_counter() - started))
    return {key: float(np.median(values)) for key, values in taken.items()}


def _drop(session: Session, reference: Reference) -> float:
    """Return the fraction of mIoU, or without ground truth of labels, that a session loses."""
    if not reference.truths:
        size = reference.spec.size
        equal = [
            float(
                np.mean(session.decode(session.infer(session.preprocess(image)), size=size) == reference.labels(index))
            )
            for index, image in enumerate(reference.images)
        ]
        return 1.0 - float(np.mean(equal))
    scores = []
    for labels_of in (_float_labels, _artifact_labels):
        matrix = ConfusionMatrix(len(reference.spec.classes), ignore_index=reference.spec.ignore_index)
        for index, truth in enumerate(reference.truths):
            matrix.update(labels_of(session, reference, index, (truth.shape[0], truth.shape[1])), truth)
        scores.append(matrix.miou())
    return scores[0] - scores[1]


def _float_labels(_: Session, reference: Reference, index: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    return reference.labels(index, size=size)


def _artifact_labels(session: Session, reference: Reference, index: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    return np.asarray(session.decode(session.infer(session.preprocess(reference.images[index])), size=size), np.uint8)


def _written(winner: Artifact, choice: Choice, *, path: Path) -> Artifact:
    with new_folder(path) as folder:
        shutil.copytree(
            winner.folder, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(MANIFEST, MARKER, "receipts")
        )
        write_json(dataclasses.replace(winner.manifest, choice=choice).sealed(), folder / MANIFEST)
    return open_artifact(path)


def _first_sentence(error: Exception) -> str:
    return str(error).split(". ", maxsplit=1)[0][:LONGEST_REASON].removesuffix(".")
