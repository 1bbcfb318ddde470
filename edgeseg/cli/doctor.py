"""`edgeseg doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

HELP = "show what this machine can convert, run and display, and how to fix the rest"

AREAS = {"base": "Base", "convert": "Convert to", "run": "Run with", "train": "Train", "show": "Show"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments: none of its own."""


def run(options: argparse.Namespace) -> int:
    """Print the findings; status 1 where not even one engine runs."""
    from edgeseg.cli import render
    from edgeseg.verbs.doctor import diagnose

    diagnosis = diagnose()
    if options.json:
        render.result_json(diagnosis)
        return 0 if diagnosis.can_run else 1
    rows = [
        (AREAS[item.area], item.name, "yes" if item.works else "no", item.detail, item.fix)
        for item in diagnosis.findings
    ]
    title = f"edgeseg {diagnosis.edgeseg}, Python {diagnosis.python}, {diagnosis.machine}"
    render.table(title, ("", "what", "works", "detail", "how to fix it"), rows)
    if not diagnosis.can_run:
        render.say('No engine runs here. Install one: pip install "edgeseg[tflite,opencv]"')
        return 1
    return 0
