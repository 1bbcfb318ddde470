"""Vendors' tools that edgeseg does not install, as data: why not, and what to do instead. One TOML file each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgeseg.core.files import read_toml
from edgeseg.core.suggestions import unknown

_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOutTool:
    """A tool that compiles for an accelerator and that everybody has to get for themselves.

    `reason` says in one clause why edgeseg does not install it, `instead` in one sentence what to do. `licence` is the
    name of its licence, "" if none was found; `checked` says what was read, with version and date.
    """

    name: str
    title: str
    purpose: str
    licence: str
    licence_url: str
    reason: str
    instead: str
    checked: str

    @property
    def line(self) -> str:
        """Why it is left out and what to do, in one line."""
        return (
            f"edgeseg does not install {self.title} ({self.name}), which {self.purpose}: {self.reason}. {self.instead}"
        )


def left_out_names() -> tuple[str, ...]:
    """Return the names of all tools that are left out, sorted."""
    return tuple(sorted(path.stem for path in _HERE.glob("*.toml")))


def find_left_out(name: str) -> LeftOutTool:
    """Return the tool of that name; raises `UnknownName` naming the nearest one."""
    if name not in left_out_names():
        raise unknown("tool that edgeseg leaves out", name, left_out_names())
    return read_toml(LeftOutTool, _HERE / f"{name}.toml")
