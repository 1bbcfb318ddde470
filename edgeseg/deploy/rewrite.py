"""A checkpoint whose net avoids ops that a target's accelerator lacks, written only if its labels stay the same."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.core.files import MARKER, new_folder, refuse_foreign
from edgeseg.core.lineage import LineageStep, flatten
from edgeseg.core.progress import Progress, no_progress
from edgeseg.deploy.manifest import lineage_of
from edgeseg.deploy.model_check import check_model, chip_of
from edgeseg.deploy.proof_images import proof_images
from edgeseg.deploy.reference import make_reference
from edgeseg.deploy.rewriting_search import TriedRewrite, find_rewrites, judged_labels, why_refused
from edgeseg.errors import EdgesegError, GateError, InputError
from edgeseg.export.export import deploy
from edgeseg.models.build import stride_of
from edgeseg.models.checkpoint import PROOF_FOLDER, Checkpoint, at_size, save_checkpoint
from edgeseg.models.lineage import read_lineage, write_lineage
from edgeseg.models.net_output import adapt
from edgeseg.models.rewriting import rewrite_ops

if TYPE_CHECKING:
    from edgeseg.core.gate import GateReport
    from edgeseg.core.spec import ModelSpec
    from edgeseg.deploy.chip_check import ChipCheck
    from edgeseg.deploy.gate import Judged
    from edgeseg.deploy.reference import Reference

STAGE = "rewrite"
"""The name of the step in a lineage, and of the stage that rewrites and is followed by training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewritten:
    """The checks of a net before and after, everything that was tried, and the measures of the result.

    `checkpoint` is the folder that was written. `retraining` is a recipe's stages for the rewrites that were refused,
    empty if none were.
    """

    checkpoint: Path
    before: ChipCheck
    after: ChipCheck
    tried: tuple[TriedRewrite, ...]
    gate: GateReport
    retraining: str = ""


def rewrite_checkpoint(
    checkpoint: Checkpoint, *, target: str, out: Path, data: str | None = None, progress: Progress = no_progress
) -> Rewritten:
    """Write a checkpoint that computes ops which the chip of a `target` lacks in other ways, and return what was done.

    The labels are compared with the checkpoint's own on `data`, else on its stored proof images, by the measures of the
    gate (`edgeseg.deploy.gate`). Its activation ranges are not carried over.

    Raises:
        InputError: no such target, one without a chip, no images to compare on, a net that runs whole already, or an
            `out` that holds anything but an earlier result.
        GateError: nothing could be rewritten without changing the labels; with each figure and how to retrain.
    """
    _refuse_replacing(out, source=checkpoint.folder)
    chip, _ = chip_of(target)
    before = check_model(checkpoint, target=target)
    if all(item.placement.reason == "" for item in before.ops):
        raise InputError(f"{checkpoint.spec.name}: all its ops run on {chip.title}; there is nothing to rewrite.")
    progress("float reference", 0, 0)
    reference = _reference(checkpoint, data=data)
    start, cut, cut_judged = _with_logits(checkpoint, reference=reference)
    search = find_rewrites(start, chip=chip, reference=reference, progress=progress)
    tried = (*cut, *search.tried)
    judged = search.judged or cut_judged
    if judged is None:
        raise _nothing(before, tried, chip=chip.title)
    progress("write", 0, 0)
    spec = dataclasses.replace(
        start.spec, name=f"{start.spec.name}-{chip.name}", rewrites=(*start.spec.rewrites, *search.accepted)
    )
    made = _written(start, spec=spec, out=out, target=target, report=judged.report)
    return Rewritten(
        checkpoint=out,
        before=before,
        after=check_model(made, target=target),
        tried=tried,
        gate=judged.report,
        retraining=retraining(tried),
    )


def _refuse_replacing(out: Path, *, source: Path) -> None:
    """Raise `InputError` unless `out` is new, empty, or a checkpoint that was rewritten before, and no source."""
    refuse_foreign(out)
    if not out.is_dir() or all(item.name == MARKER for item in out.iterdir()):
        return
    steps: tuple[LineageStep, ...] = ()
    with contextlib.suppress(EdgesegError):
        steps = read_lineage(out)
    if not steps or steps[-1].stage != STAGE or out.resolve() == source.resolve():
        raise InputError(
            f"{out}: holds something else than an earlier result of this rewriting. Choose another folder."
        )


def retraining(tried: tuple[TriedRewrite, ...]) -> str:
    """Return a recipe's stages that apply the refused rewrites and train the net with them; empty if none were refused.

    Of several ways to compute an op, it is the one that keeps most labels.
    """
    best: dict[str, TriedRewrite] = {}
    settled = {(item.op, layer) for item in tried if not item.refused for layer in item.layers}
    for item in tried:
        open_layers = [layer for layer in item.layers if (item.op, layer) not in settled]
        if item.refused and open_layers and item.agreement > getattr(best.get(item.op), "agreement", -1.0):
            best[item.op] = dataclasses.replace(item, layers=tuple(open_layers))
    if not best:
        return ""
    lines = [
        f'{{ op = "{item.op}", to = "{item.to}", layer = "{layer}" }}'
        for item in best.values()
        for layer in item.layers
    ]
    rows = "".join(f"  {line},\n" for line in lines)
    return f'[[stages]]\nkind = "{STAGE}"\nrewrites = [\n{rows}]\n\n[[stages]]\nkind = "finetune"\n'


def _reference(checkpoint: Checkpoint, *, data: str | None) -> Reference:
    images = proof_images(
        data=data,
        calibration=None,
        calibrated_on=None,
        trained_on=lineage_of(checkpoint).training_data,
        classes=checkpoint.spec.classes,
        checkpoint=checkpoint.folder,
    )
    if not images.in_domain:
        raise InputError(
            f"{checkpoint.spec.name}: has no images to compare labels on. Give a folder of images or a data set like "
            "those it was trained on: --data DIR."
        )
    return make_reference(checkpoint, spec=checkpoint.spec, images=images)


def _with_logits(
    checkpoint: Checkpoint, *, reference: Reference
) -> tuple[Checkpoint, tuple[TriedRewrite, ...], Judged | None]:
    """Return the checkpoint with its logits at the net's own stride if its spec keeps the last resize in the graph.

    With it what was tried, if anything, and how it was judged, None if it was refused.
    """
    spec = checkpoint.spec
    if spec.output is None or spec.output.cut:
        return checkpoint, (), None
    output = dataclasses.replace(spec.output, cut=True)
    net = adapt(copy.deepcopy(checkpoint.net), output=output, classes=len(spec.classes))
    stride = stride_of(net, name=spec.name, classes=len(spec.classes), size=spec.size)
    if stride == spec.output_stride:
        return checkpoint, (), None
    changed = at_size(dataclasses.replace(spec, output=output, output_stride=stride), size=spec.size)
    made = dataclasses.replace(checkpoint, spec=changed, net=net)
    judged = judged_labels(deploy(made, spec=changed, output="logits"), reference=reference, exact=True)
    tried = TriedRewrite(
        op="output",
        to=f"logits at stride {stride}",
        does=f"the last resize left to edgeseg: logits at stride {stride}",
        exact=True,
        layers=(),
        agreement=judged.report.label_agreement,
        refused=why_refused(judged),
    )
    return (checkpoint, (tried,), None) if tried.refused else (made, (tried,), judged)


def _nothing(before: ChipCheck, tried: tuple[TriedRewrite, ...], *, chip: str) -> GateError:
    names = ", ".join(dict.fromkeys(item.placement.op for item in before.ops if item.placement.reason))
    if not tried:
        return GateError(
            f"{before.model}: there is no other way to compute {names} with the ops of {chip}. Nothing was written."
        )
    figures = "; ".join(f"{item.op} as {item.to}: {item.refused}" for item in tried)
    return GateError(
        f"{before.model}: no rewrite for {chip} keeps the labels ({figures}). Nothing was written. The net wants "
        f"retraining with the rewrite, in a recipe for edgeseg compress:\n{retraining(tried)}"
    )


def _written(start: Checkpoint, *, spec: ModelSpec, out: Path, target: str, report: GateReport) -> Checkpoint:
    """Write the rewritten checkpoint, with its parent's proof images and lineage, and return it."""
    parent = read_lineage(start.folder)
    settings = {"target": Path(target).name, "rewrites": spec.rewrites}
    with new_folder(out) as folder:
        complete = save_checkpoint(folder / "net", net=start.net, spec=spec)
        for path in (folder / "net").iterdir():
            if not path.name.startswith("."):
                path.rename(folder / path.name)
        shutil.rmtree(folder / "net")
        proof = start.folder / PROOF_FOLDER
        if proof.is_dir():
            shutil.copytree(proof, folder / PROOF_FOLDER)
        step = LineageStep(
            stage=STAGE,
            checkpoint=complete.name,
            weights_sha256=complete.weights_sha256,
            parent=start.spec.name,
            parent_sha256=start.spec.weights_sha256,
            settings=flatten(settings),
            metrics={"label_agreement": report.label_agreement, "images": float(report.images)},
        )
        write_lineage(folder, (*parent, step))
    net = rewrite_ops(copy.deepcopy(start.net), complete.rewrites[len(start.spec.rewrites) :])
    return Checkpoint(spec=complete, net=net, folder=out)
