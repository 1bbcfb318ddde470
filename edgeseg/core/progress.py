"""Progress reports of long-running work: one protocol for every package."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called as work proceeds."""

    def __call__(self, what: str, done: int, total: int, /) -> None:
        """Report that `done` of `total` items of `what` are done; `total` is 0 where it is unknown."""


def no_progress(_what: str, _done: int, _total: int, /) -> None:
    """Ignore the report."""


def reported_as(progress: Progress | None, name: str) -> Progress:
    """Return a callback that forwards to `progress` under another name, or ignores reports if there is none."""
    if progress is None:
        return no_progress
    return lambda _what, done, total: progress(name, done, total)
