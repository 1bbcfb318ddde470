"""How long work reports how far it is: one protocol for every room."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called as work goes on, with what is being done, how much of it is done and how much there is (0: unknown)."""

    def __call__(self, what: str, done: int, total: int, /) -> None: ...


def no_progress(_what: str, _done: int, _total: int, /) -> None:
    """Report to nobody."""


def reported_as(progress: Progress | None, name: str) -> Progress:
    """Return a progress that passes on to `progress` under another name; where there is none, it reports nothing."""
    if progress is None:
        return no_progress
    return lambda _what, done, total: progress(name, done, total)
