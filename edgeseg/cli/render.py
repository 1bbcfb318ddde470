"""Rendering: results on stdout, everything else on stderr. The only file, with `progress`, that knows rich."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from edgeseg.core.records import encode

__all__ = ["Advance", "console", "counted", "encode", "percent", "progress", "result", "result_json", "say", "table"]

WIDTH_IN_A_PIPE = 160


def console(*, stderr: bool = False) -> Console:
    """Return a console that does not wrap at 80 columns when its output goes to a file or a pipe."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else WIDTH_IN_A_PIPE, highlight=False, soft_wrap=True)


def say(text: str) -> None:
    """Print a line for the person on stderr."""
    console(stderr=True).print(text, markup=False)


def result(text: str) -> None:
    """Print a result on stdout."""
    console().print(text, markup=False)


def result_json(value: object) -> None:
    """Print one JSON object on stdout."""
    sys.stdout.write(json.dumps(encode(value), indent=2, ensure_ascii=False) + "\n")


def fields(value: object) -> dict[str, object]:
    """Return a dataclass as the JSON-ready table that it is written as."""
    table = encode(value)
    assert isinstance(table, dict)
    return table


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Sequence[str] = ()) -> None:
    """Print a table on stdout; the columns named in `numbers` are set flush right."""
    drawn = Table(header_style="bold", box=SIMPLE_HEAD)
    for column in columns:
        drawn.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*row)
    screen = console()
    if title:
        # Not the table's own title: that is wrapped to the table's width.
        screen.print(title, style="bold", markup=False)
    screen.soft_wrap = False
    screen.print(drawn)


Advance = Callable[[str, int, int], None]
"""Called with what is being done, how much is done, and how much there is (0 where that is not known)."""


@contextlib.contextmanager
def progress(*, quiet: bool = False) -> Iterator[Advance]:
    """Yield a function that moves bars on stderr, one for each description; none are drawn when `quiet` or in a log."""
    if quiet or not sys.stderr.isatty():
        yield lambda _what, _done, _total: None
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console(stderr=True), transient=True) as bars:
        tasks: dict[str, object] = {}

        def advance(what: str, done: int, total: int) -> None:
            if what not in tasks:
                for other in tasks.values():
                    bars.update(other, visible=False)  # type: ignore[arg-type]
                tasks[what] = bars.add_task(what, total=total or None)
            bars.update(tasks[what], completed=done, total=total or None)  # type: ignore[arg-type]

        yield advance


def counted(number: int, noun: str) -> str:
    """Return "1 thread" or "2 threads"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def percent(fraction: float | None) -> str:
    """Return a fraction as percent with two digits, or a dash."""
    return "-" if fraction is None else f"{100 * fraction:.2f}"
