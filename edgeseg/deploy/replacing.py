"""What a conversion may replace: an artifact of the same weights, format, precision, size and output.

A search that writes to one folder whichever precision and output is best may replace what a search chose of the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeseg.core.artifact import MANIFEST, Manifest, open_artifact
from edgeseg.core.files import MARKER, refuse_foreign
from edgeseg.errors import ArtifactError, InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgeseg.core.spec import ModelSpec
    from edgeseg.deploy.plan import PlannedArtifact


def distinct_name(spec: ModelSpec, *, own_size: tuple[int, int], output: str) -> str:
    """Return the model's part of an artifact's folder name, with size and output unless they are the defaults.

    Characters that a file system might reject become "-".
    """
    size = "" if spec.size == own_size else f"-{spec.size[0]}x{spec.size[1]}"
    name = f"{spec.name}{size}{'' if output == 'logits' else f'-{output}'}"
    return "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in name) or "model"


def refuse_replacing(item: PlannedArtifact, *, spec: ModelSpec, output: str, force: bool) -> None:
    """Raise `InputError` if the planned path has another artifact, or anything that edgeseg did not make.

    Where candidates are tried, no path of one may have: the best is known only at the end. `force` allows replacing
    another artifact or anything else that edgeseg made; a damaged artifact may always be replaced.
    """
    planned: dict[Path, list[tuple[str, str]]] = {}
    for candidate in item.candidates:
        planned.setdefault(candidate.path, []).append((candidate.precision, candidate.output))
    for path, ways in (planned or {item.path: [(item.precision, output)]}).items():
        refuse_foreign(path)
        refuse_no_artifact(path, force=force)
        there = None if force else manifest_in(path)
        if there is None:
            continue
        for what, old, new in _differences(there, item, spec=spec, ways=ways):
            raise InputError(
                f"{path}: holds another artifact: its {what} is {old}, not {new}. Choose another --out, or replace it "
                "with --force."
            )


def refuse_no_artifact(path: Path, *, force: bool) -> None:
    """Raise `InputError` for a folder of edgeseg's that is no artifact, such as a training run or a checkpoint."""
    if force or not path.is_dir() or (path / MANIFEST).is_file():
        return
    if any(item.name != MARKER for item in path.iterdir()):
        raise InputError(
            f"{path}: holds something else that edgeseg made, such as a training run or a checkpoint. Choose another "
            "--out, or replace it with --force."
        )


def manifest_in(path: Path) -> Manifest | None:
    """Return the manifest of the artifact in a folder; None without one, or for a damaged artifact."""
    if not (path / MANIFEST).is_file():
        return None
    try:
        return open_artifact(path).manifest
    except ArtifactError:
        return None


def _differences(
    there: Manifest, item: PlannedArtifact, *, spec: ModelSpec, ways: Sequence[tuple[str, str]]
) -> list[tuple[str, str, str]]:
    """Return what differs from an artifact that will be written in one of several `ways`: precision and output."""
    high, wide = spec.size
    there_high, there_wide = there.inputs[0].size
    # At a stride of 1, "full" and "labels" are the same.
    finest = {"full": "labels"} if spec.output_stride == 1 else {}
    precisions = tuple(dict.fromkeys(precision for precision, _ in ways))
    outputs = tuple(dict.fromkeys(finest.get(output, output) for _, output in ways))
    pairs = [
        ("format", there.format, item.format),
        ("precision", there.scheme.name, _same_or_all(there.scheme.name, precisions)),
        ("input size", f"{there_high}x{there_wide}", f"{high}x{wide}"),
        ("output", _output(there), _same_or_all(_output(there), outputs)),
        ("calibrator", "native" if there.report.calibrator else "edgeseg", item.calibrator),
        ("weights' hash", there.spec.weights_sha256[:12], spec.weights_sha256[:12]),
    ]
    if there.choice is None and len(ways) > 1:
        # It was asked for as it is; the best may be another.
        what, old, tried = ("output", _output(there), outputs)
        if len(precisions) > 1:
            what, old, tried = ("precision", there.scheme.name, precisions)
        pairs.append((what, f"{old} as asked for", f"the best of {', '.join(tried)}"))
    return [pair for pair in pairs if pair[1] != pair[2]]


def _same_or_all(value: str, tried: tuple[str, ...]) -> str:
    return value if value in tried else " or ".join(tried)


def _output(manifest: Manifest) -> str:
    output = manifest.outputs[0]
    is_full = output.role == "labels" and output.size == manifest.inputs[0].size and manifest.spec.output_stride > 1
    return "full" if is_full else output.role
