"""`edgeseg check [MODEL] --target T`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from edgeseg.verbs.check import ChipCheck, Rewritten

HELP = "say where each op of a model would run on a device's accelerator, and what to change"
STATUS = {"whole": 0, "partly": 3, "none": 1}
"""Exit status of each verdict: everything on the accelerator, a part of it, nothing."""

EVIDENCE = {
    "compiler": "Compared with what the vendor's compiler placed.",
    "document": "Taken from that document.",
    "unchecked": "Unchecked: not yet compared with that source{but}; take the verdict as a hint.",
}
"""How far a chip's table can be trusted."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    from edgeseg.cli.options import add_model, parse_size

    add_model(parser)
    parser.add_argument(
        "--target",
        metavar="T",
        required=True,
        help="a device with an accelerator, a chip, or the file of either, such as ./board.toml",
    )
    parser.add_argument(
        "--size",
        metavar="HxW",
        type=parse_size,
        help="input size in pixels, HEIGHTxWIDTH (default: the checkpoint's own)",
    )
    parser.add_argument("--all", action="store_true", help="list every op, not only those that run elsewhere")
    parser.add_argument(
        "--rewrite",
        metavar="OUT",
        help="write a checkpoint to OUT that computes ops which the chip lacks in other ways, as far as the labels on "
        "--data stay the same",
    )
    parser.add_argument(
        "--data",
        metavar="DIR",
        help="for --rewrite: images to compare labels on, a folder or a data set (default: the checkpoint's own)",
    )


def run(options: argparse.Namespace) -> int:
    """Print the verdict; status 0 if all runs on the accelerator, 3 for a part, 1 for nothing.

    With --rewrite it is the verdict on the rewritten net.
    """
    from edgeseg.cli import render
    from edgeseg.cli.options import UsageError
    from edgeseg.verbs.check import check

    if options.rewrite is not None:
        return _rewrite(options)
    if options.data is not None:
        raise UsageError("--data is for --rewrite OUT, which compares labels on these images.")
    found = check(options.model, target=options.target, weights=options.weights, spec=options.spec, size=options.size)
    if options.json:
        render.result_json({**render.fields(found), "on_chip": found.on_chip})
        return STATUS[found.verdict]
    _show(found, every=options.all)
    return STATUS[found.verdict]


def _rewrite(options: argparse.Namespace) -> int:
    from edgeseg.cli import render
    from edgeseg.verbs.check import rewrite

    with render.progress(quiet=options.json) as advance:
        done = rewrite(
            options.model,
            target=options.target,
            out=options.rewrite,
            data=options.data,
            weights=options.weights,
            spec=options.spec,
            size=options.size,
            on_progress=advance,
        )
    if options.json:
        render.result_json(render.fields(done))
        return STATUS[done.after.verdict]
    _show(done.after, every=options.all)
    _show_rewrites(done)
    return STATUS[done.after.verdict]


def _show_rewrites(done: Rewritten) -> None:
    from edgeseg.cli import render

    for item in done.tried:
        where = f" in {render.counted(len(item.layers), 'module')}" if item.layers else ""
        state = f"refused, {item.refused}" if item.refused else f"done, {100 * item.agreement:.2f} % of labels stay"
        render.result(f"  {item.op} as {item.to}{where}: {state}")
    report = done.gate
    render.result(f"on the accelerator: {done.before.on_chip} of {len(done.before.ops)} ops before, "
                  f"{done.after.on_chip} of {len(done.after.ops)} now")  # fmt: skip
    render.result(f"{done.checkpoint}: {100 * report.label_agreement:.2f} % of the labels stay the same "
                  f"({render.counted(report.images, 'image')} of {report.source})")  # fmt: skip
    if done.retraining:
        render.result(
            f"What was refused wants retraining, in a recipe for edgeseg compress:\n{done.retraining}".rstrip()
        )


def _show(found: ChipCheck, *, every: bool) -> None:
    from edgeseg.cli import render
    from edgeseg.core.placement import CPU

    rows = [
        (item.placement.unit, item.placement.op, item.layer or item.placement.node, item.placement.reason or "-")
        for item in found.ops
        if every or item.placement.unit == CPU
    ]
    if rows:
        render.table("", ("runs on", "op", "layer", "why not on the accelerator"), rows)
    size = f"{found.size[0]}x{found.size[1]}"
    render.result(f"{found.model} at {size} on {found.chip}: {found.on_chip} of {len(found.ops)} ops on it")
    limit = f" of {found.available_kib} KiB" if found.available_kib else ""
    render.result(f"predicted peak memory: {found.memory_kib:.0f} KiB{limit}, at {found.memory_at}")
    for text in found.advice:
        render.result(f"  {text}")
    words = {"whole": "runs whole on the accelerator", "partly": "runs partly on it", "none": "does not run on it"}
    render.result(f"verdict: {words[found.verdict]}. {found.reason}".rstrip())
    render.result(f"table of {found.dated}: {found.source}. {_evidence(found)}")


def _evidence(found: ChipCheck) -> str:
    """Return how far the table can be trusted, with the facts that were compared with documents."""
    but = f", but for {len(found.verified)} facts (--json lists them)" if found.verified else ""
    return EVIDENCE[found.evidence].format(but=but)
