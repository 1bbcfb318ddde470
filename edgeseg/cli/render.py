"""Rendering: results on stdout, everything else on stderr. The only file that knows rich.

Text from users' files is never parsed as markup, and its control characters are shown as escapes.
"""

from __future__ import annotations

import contextlib
import json
import sys
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from edgeseg.core.progress import Progress, no_progress
from edgeseg.core.records import encode_record
from edgeseg.errors import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = [
    "be_quiet", "console", "counted", "encode_record", "fields", "percent_text", "progress", "result", "result_json",
    "say", "table",
]  # fmt: skip

WIDTH_IN_A_PIPE = 160
_quiet = False


def be_quiet() -> None:
    """Show no progress and no notes from now on; results and errors stay."""
    global _quiet  # noqa: PLW0603 - one terminal, one setting
    _quiet = True


def console(*, stderr: bool = False) -> Console:
    """Return a console that does not wrap at 80 columns when its output goes to a file or a pipe."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else WIDTH_IN_A_PIPE
    return Console(stderr=stderr, width=width, highlight=False, soft_wrap=True, markup=False, emoji=False)


def say(text: str) -> None:
    """Print a line for the user on stderr."""
    if not _quiet:
        console(stderr=True).print(_text(text))


def result(text: str) -> None:
    """Print a result on stdout."""
    with _stdout_named():
        console().print(_text(text))


def result_json(value: object) -> None:
    """Print one JSON object on stdout; it begins with its `schema`, 1 where the value has none of its own."""
    table = encode_record(value)
    if isinstance(table, dict):
        table = {"schema": table.pop("schema", 1), **table}
    with _stdout_named():
        sys.stdout.write(json.dumps(table, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def fields(value: object) -> dict[str, object]:
    """Return a dataclass as the JSON-ready table that it is written as."""
    table = encode_record(value)
    assert isinstance(table, dict)
    return table


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Sequence[str] = ()) -> None:
    """Print a table on stdout; the columns named in `numbers` are set flush right."""
    drawn = Table(header_style="bold", box=SIMPLE_HEAD)
    for column in columns:
        drawn.add_column(_text(column), justify="right" if column in numbers else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*map(_text, row))
    screen = console()
    with _stdout_named():
        if title:
            # Not the table's own title: that is wrapped to the table's width.
            screen.print(_text(title), style="bold")
        screen.soft_wrap = False
        screen.print(drawn)


@contextlib.contextmanager
def _stdout_named() -> Iterator[None]:
    """Give an error of stdout, a full disk, the name that an error of a file has."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, "stdout") from None


@contextlib.contextmanager
def progress(*, quiet: bool = False) -> Iterator[Progress]:
    """Yield a function that moves bars on stderr, one for each description; none are drawn when `quiet` or in a log."""
    if quiet or _quiet or not sys.stderr.isatty():
        yield no_progress
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Bars(*columns, console=console(stderr=True), transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def advance(what: str, done: int, total: int, /) -> None:
            if what not in tasks:
                for other in tasks.values():
                    bars.update(other, visible=False)
                tasks[what] = bars.add_task(printable(what), total=total or None)
            bars.update(tasks[what], completed=done, total=total or None)

        yield advance


def counted(number: int, noun: str) -> str:
    """Return "1 thread" or "2 threads"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def percent_text(fraction: float | None) -> str:
    """Return a fraction as percent with two digits, or a dash."""
    return "-" if fraction is None else f"{100 * fraction:.2f}"


def _text(text: str) -> Text:
    return Text(printable(text, keep="\n\t"))
