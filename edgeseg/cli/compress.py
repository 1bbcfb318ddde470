"""`edgeseg compress RECIPE`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from edgeseg.compress.pipeline.dry_run import PipelinePlan, PlannedStage
    from edgeseg.compress.pipeline.run import CompressionResult
    from edgeseg.core.progress import Progress

HELP = "prune, distill and quantize a checkpoint by a TOML recipe, stage by stage; can be resumed"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    from edgeseg.cli.options import add_weights

    parser.add_argument("recipe", metavar="RECIPE", nargs="?", help="a TOML file, or the name of a bundled recipe")
    parser.add_argument("--out", metavar="DIR", type=Path, help="folder of the run (default: runs/<recipe's name>)")
    parser.add_argument("--data", metavar="DIR|SET", help="data set instead of the recipe's, for train and val")
    parser.add_argument(
        "--init", metavar="MODEL", help="checkpoint or package.module:factory to start from instead of the recipe's"
    )
    add_weights(parser)
    parser.add_argument("--resume", action="store_true", help="continue in --out; finished stages are not run again")
    parser.add_argument(
        "--only", metavar="STAGE", help="run one stage (2, distill or 02-distill); those before it must be done"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the stages with MACs and parameters, and stop")
    parser.add_argument("--stages", action="store_true", help="list the stages that a recipe can use, and stop")


def run(options: argparse.Namespace) -> int:
    """Compress, and print each stage's score and cost and the command that comes next."""
    from edgeseg.cli import render
    from edgeseg.verbs.compress import compress, plan_compression

    if options.stages:
        return _print_stages(as_json=options.json)
    if options.recipe is None:
        options.parser.error("RECIPE is missing: give a TOML file or the name of a bundled recipe")
    if options.dry_run:
        planned = plan_compression(
            options.recipe, data=options.data, init=options.init, weights=options.weights, spec=options.spec
        )
        if options.json:
            render.result_json(planned)
        else:
            _print_plan(planned)
        return 0
    try:
        with render.progress(quiet=options.json) as advance:
            done = compress(
                options.recipe,
                out=options.out,
                data=options.data,
                init=options.init,
                weights=options.weights,
                spec=options.spec,
                resume=options.resume,
                only=options.only,
                command=shlex.join(["edgeseg", *sys.argv[1:]]),
                on_event=_watch(advance, quiet=options.json),
            )
    except KeyboardInterrupt:
        again = [word for word in sys.argv[1:] if word != "--resume"]
        render.say(f"edgeseg: interrupted. Continue with: {shlex.join(['edgeseg', *again, '--resume'])}")
        return 130
    if options.json:
        render.result_json(done)
        return 0
    _print_result(done)
    return 0


def _print_stages(*, as_json: bool) -> int:
    from edgeseg.cli import render
    from edgeseg.verbs.compress import stages

    found = stages()
    if as_json:
        render.result_json({"stages": found})
        return 0
    rows = [(item.name, item.does if not item.fault else f"unavailable: {item.fault}") for item in found]
    render.table("", ("kind", "does"), rows)
    return 0


def _print_result(done: CompressionResult) -> None:
    from edgeseg.cli import render
    from edgeseg.models.checkpoint import read_spec
    from edgeseg.models.factory import path_prefix

    columns = ("stage", "val mIoU %", "MACs", "parameters", "seconds")
    rows = [
        (
            item.folder or item.stage,
            render.percent_text(item.miou),
            *_cost(item.macs, item.parameters),
            f"{item.seconds:.0f}",
        )
        for item in done.stages
    ]
    render.table("", columns, rows, numbers=columns[1:])
    if done.checkpoint is None:
        render.result("The stages after this one have not run yet. Run the same command with --resume.")
        return
    place = _near(done.checkpoint)
    render.result(f"{place}: {done.ranges}")
    prefix = path_prefix(read_spec(done.checkpoint).architecture)
    render.result(f"Next: {prefix}edgeseg convert {place} --target tflite --precision int8")


def _print_plan(planned: PipelinePlan) -> None:
    from edgeseg.cli import render

    high, width = planned.size
    title = f"{planned.name}: from {planned.model} at {high}x{width}, on {planned.data} ({planned.images} images)"
    columns = ("stage", "does", "MACs", "parameters", "epochs", "steps", "settings")
    render.table(title, columns, [_row(stage) for stage in planned.stages], numbers=("epochs", "steps"))


def _row(stage: PlannedStage) -> tuple[str, ...]:
    before, after = _cost(stage.before.macs, stage.before.parameters), _cost(stage.after.macs, stage.after.parameters)
    costs = [new if old == new else f"{old} -> {new}" for old, new in zip(before, after, strict=True)]
    settings = ", ".join(f"{key} = {value}" for key, value in stage.settings.items())
    times = (str(stage.epochs or "-"), str(stage.steps or "-"))
    return (stage.folder, stage.does, *costs, *times, settings)


def _cost(macs: int, parameters: int) -> tuple[str, str]:
    return f"{macs / 1e6:.1f} M", f"{parameters / 1e3:.1f} k"


def _near(path: Path) -> Path:
    """Return a path relative to the working folder if it lies below that."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _watch(advance: Progress, *, quiet: bool) -> Callable[[object], None]:
    from edgeseg.cli import render
    from edgeseg.cli.train import watch_training
    from edgeseg.compress.pipeline.run import StageBegun

    training = watch_training(advance, quiet=quiet, indent="  ")

    def watch(event: object) -> None:
        if not isinstance(event, StageBegun):
            training(event)
        elif not quiet:
            state = "already done" if event.done else "starts"
            render.say(f"stage {event.number} of {event.total}, {event.kind}: {state}")

    return watch
