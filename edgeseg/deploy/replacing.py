"""What a conversion may replace: an artifact of the same weights, format, precision, size and output."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeseg.core.artifact import MANIFEST, Manifest, open_artifact
from edgeseg.core.files import refuse_foreign
from edgeseg.errors import ArtifactError, InputError

if TYPE_CHECKING:
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

    `force` allows replacing another artifact; a damaged one may always be replaced.
    """
    refuse_foreign(item.path)
    if force or not (item.path / MANIFEST).is_file():
        return
    try:
        there = open_artifact(item.path).manifest
    except ArtifactError:
        return
    for what, old, new in _differences(there, item, spec=spec, output=output):
        raise InputError(
            f"{item.path}: holds another artifact: its {what} is {old}, not {new}. Choose another --out, or replace it "
            "with --force."
        )


def _differences(there: Manifest, item: PlannedArtifact, *, spec: ModelSpec, output: str) -> list[tuple[str, str, str]]:
    high, wide = spec.size
    there_high, there_wide = there.inputs[0].size
    pairs = [
        ("format", there.format, item.format),
        ("precision", there.scheme.name, item.precision),
        ("input size", f"{there_high}x{there_wide}", f"{high}x{wide}"),
        ("output", _output(there), output),
        ("calibrator", "native" if there.report.calibrator else "edgeseg", item.calibrator),
        ("weights' hash", there.spec.weights_sha256[:12], spec.weights_sha256[:12]),
    ]
    return [pair for pair in pairs if pair[1] != pair[2]]


def _output(manifest: Manifest) -> str:
    output = manifest.outputs[0]
    is_full = output.role == "labels" and output.size == manifest.inputs[0].size and manifest.spec.output_stride > 1
    return "full" if is_full else output.role
