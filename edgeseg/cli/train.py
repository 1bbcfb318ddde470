"""`edgeseg train RECIPE`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from edgeseg.core.progress import Progress
    from edgeseg.train import Recipe

HELP = "train a net by a TOML recipe into a checkpoint; resumes exactly where a run was cut off"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    from edgeseg.cli.options import positive, whole

    parser.add_argument("recipe", metavar="RECIPE", help="a TOML file, or the name of a bundled recipe")
    parser.add_argument("--out", metavar="DIR", type=Path, help="folder of the run (default: runs/<recipe's name>)")
    parser.add_argument("--data", metavar="DIR|SET", help="data set instead of the recipe's, for train and val")
    parser.add_argument("--init", metavar="MODEL", help="checkpoint to start from instead of the recipe's")
    parser.add_argument("--encoder", metavar="FILE", help="public encoder weights instead of the recipe's")
    parser.add_argument(
        "--epochs", metavar="N", type=positive, help="instead of the recipe's; a warm-up as long keeps its share"
    )
    parser.add_argument("--seed", metavar="N", type=whole, help="of all random numbers, instead of the recipe's")
    parser.add_argument("--skip-broken", action="store_true", help="list and leave out samples that cannot be used")
    parser.add_argument("--resume", action="store_true", help="continue the run in --out")
    parser.add_argument("--dry-run", action="store_true", help="print the settings and stop")


def run(options: argparse.Namespace) -> int:
    """Train, and print the best score and where the checkpoint is."""
    from edgeseg.cli import render
    from edgeseg.models.factory import is_factory, path_prefix, trust
    from edgeseg.train import override, read_recipe, train
    from edgeseg.train.figures import CURVES, PREDICTIONS

    recipe = override(
        read_recipe(options.recipe),
        data=options.data,
        init=options.init,
        encoder=options.encoder,
        epochs=options.epochs,
        seed=options.seed,
    )
    if is_factory(recipe.model.name):
        trust(recipe.model.name)
    if options.dry_run:
        return _show_plan(recipe, as_json=options.json)
    out = options.out or Path("runs") / recipe.name
    with render.progress(quiet=options.json) as advance:
        result = train(
            recipe,
            out=out,
            resume=options.resume,
            skip_broken=options.skip_broken,
            on_event=watch_training(advance, quiet=options.json),
            command=shlex.join(["edgeseg", *sys.argv[1:]]),
        )
    if options.json:
        render.result_json(result)
        return 0
    render.say(f"Curves: {out / CURVES}; predictions on val images: {out / PREDICTIONS}")
    render.result(f"{result.checkpoint}: val mIoU {render.percent_text(result.miou)} %, epoch {result.best_epoch}")
    render.result(f"Next: {path_prefix(recipe.model.name)}edgeseg convert {result.checkpoint} --target tflite")
    return 0


def _show_plan(recipe: Recipe, *, as_json: bool) -> int:
    from edgeseg.cli import render
    from edgeseg.core.lineage import flatten

    if as_json:
        render.result_json(recipe)
        return 0
    high, wide = recipe.model.size
    title = f"{recipe.name}: {recipe.model.name} at {high}x{wide}, on {recipe.data.train}"
    named = ("schema", "name", "licence", "notice")
    rows = [(key, str(value)) for key, value in flatten(recipe).items() if key not in named and value != ""]
    render.table(title, ("setting", "value"), rows)
    return 0


def watch_training(advance: Progress, *, quiet: bool, indent: str = "") -> Callable[[object], None]:
    """Return what shows a training's events: progress by `advance`, and a line for each score."""
    from edgeseg.cli import render
    from edgeseg.train.events import EpochDone, Loading, Notice, StepDone
    from edgeseg.train.figures import sparkline, text_curve

    scores: list[float] = []

    def watch(event: object) -> None:
        if isinstance(event, Loading):
            advance(f"read {event.data}", event.done, event.total)
        elif isinstance(event, Notice):
            render.say(f"data: {event.text}")
        elif isinstance(event, StepDone):
            advance(f"train, epoch {event.epoch} of {event.epochs}", event.step, event.steps)
        elif isinstance(event, EpochDone) and event.miou is not None and not quiet:
            scores.append(event.miou)
            render.say(
                f"{indent}epoch {event.epoch}/{event.epochs}  loss {event.loss:.4f}"
                f"  mIoU {render.percent_text(event.miou)} %  best {render.percent_text(event.best_miou)} %"
                f"  {sparkline(scores)}"
            )
            if event.epoch == event.epochs:
                if len(scores) > 2 and not indent:
                    render.say(text_curve(scores))
                scores.clear()
            sys.stderr.flush()

    return watch
