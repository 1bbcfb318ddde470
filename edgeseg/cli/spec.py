"""`edgeseg spec MODULE` and `edgeseg spec MODULE --check --data DIR`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from edgeseg.core.spec import Preprocess
    from edgeseg.verbs.spec import PreprocessCheck

HELP = "write a spec.toml for a net of your own, or check its preprocessing on labelled images"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    from edgeseg.cli.options import add_weights, positive

    parser.add_argument(
        "model",
        metavar="MODEL",
        help="package.module:factory or a model file (.onnx, .tflite, ...); with --check also a checkpoint or artifact",
    )
    add_weights(parser)
    parser.add_argument("--data", metavar="DIR", help="data set with the net's classes; --check needs it")
    parser.add_argument("--size", metavar="HxW", help="input size, HEIGHTxWIDTH (default: found out or guessed)")
    parser.add_argument(
        "-o", "--out", metavar="FILE", type=Path, default=Path("spec.toml"), help="file to write (default: spec.toml)"
    )
    parser.add_argument("--force", action="store_true", help="replace the file at --out")
    parser.add_argument(
        "--check",
        action="store_true",
        help="try colour orders, normalisations and resize rules on --data, and rank them by mIoU; writes nothing",
    )
    parser.add_argument("--split", default="val", help="split of --data for --check (default: val)")
    parser.add_argument(
        "--limit", metavar="N", type=positive, default=16, help="images of the split for --check (default: 16)"
    )


def run(options: argparse.Namespace) -> int:
    """Write a spec.toml and say what was guessed, or rank preprocessings."""
    from edgeseg.cli import render
    from edgeseg.cli.options import UsageError, size_of
    from edgeseg.verbs.spec import check_spec, write_spec_draft

    if options.check:
        if options.data is None:
            raise UsageError("--check needs labelled images: --data DIR.")
        with render.progress(quiet=options.json) as advance:
            found = check_spec(
                options.model,
                data=options.data,
                weights=options.weights,
                spec=options.spec,
                split=options.split,
                limit=options.limit,
                on_progress=advance,
            )
        _show_check(found, as_json=options.json)
        return 0
    if options.spec is not None:
        raise UsageError("--spec is read with --check alone; without it a new one is written to --out.")
    draft = write_spec_draft(
        options.model,
        weights=options.weights,
        size=size_of(options.size),
        data=options.data,
        out=options.out,
        force=options.force,
    )
    if options.json:
        render.result_json({"schema": 1, "path": str(options.out), "guessed": draft.guessed, "spec": draft.spec})
        return 0
    render.result(f"{options.out}: guessed, check them: {', '.join(draft.guessed)}")
    flags = f" --weights {options.weights}" if options.weights else ""
    render.result(f"Next: edgeseg spec {options.model}{flags} --spec {options.out} --check --data DIR")
    return 0


def _show_check(found: PreprocessCheck, *, as_json: bool) -> None:
    from edgeseg.cli import render

    if as_json:
        render.result_json({"schema": 1, **render.fields(found), "best": found.best, "verdict": found.verdict})
        return
    rows = [
        (
            trial.title,
            render.percent_text(trial.miou),
            render.percent_text(trial.pixel_accuracy),
            "spec" if trial.own else "",
        )
        for trial in found.trials
    ]
    columns = ("preprocessing", "mIoU %", "pixel accuracy %", "")
    title = f"{found.subject} on {found.data} {found.split}, {found.images} images"
    render.table(title, columns, rows, numbers=columns[1:3])
    render.result(found.verdict)
    if not found.best.own:
        render.result(f"\n{_as_toml(found.best.preprocess)}")


def _as_toml(rule: Preprocess) -> str:
    return "\n".join(
        (
            "[preprocess]",
            f'color_order = "{rule.color_order}"',
            f'resize = "{rule.resize}"',
            f"scale = {rule.scale!r}",
            f"mean = {list(rule.mean)}",
            f"std = {list(rule.std)}",
        )
    )
