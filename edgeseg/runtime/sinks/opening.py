"""Sinks by name: `video:out.mp4`, `labels:folder`, a plug-in's own. All are checked before any slow work."""

from __future__ import annotations

import glob
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.core import registry
from edgeseg.runtime.sinks.base import Sink, SinkContext, SinkKind
from edgeseg.runtime.sinks.places import refuse_inputs

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkRequest:
    """A requested sink: its registered kind, and the argument after the colon."""

    name: str
    kind: SinkKind
    argument: str = ""


def wanted(texts: Sequence[str]) -> tuple[SinkRequest, ...]:
    """Return the sinks that `NAME[:ARGUMENT]` texts name; raises `UnknownName`, `MissingDependency`."""
    found = []
    for text in texts:
        name, _, argument = text.partition(":")
        kind = registry.load_as("sinks", name, SinkKind)  # type: ignore[type-abstract]
        found.append(SinkRequest(name=name, kind=kind, argument=argument))
    return tuple(found)


def check_sinks(sinks: Sequence[SinkRequest], *, source: str, artifacts: Sequence[Path], force: bool) -> None:
    """Raise an `EdgesegError` if a sink cannot open, or would overwrite an input or another output."""
    outputs = [path for sink in sinks if (path := sink.kind.writes(sink.argument)) is not None]
    refuse_inputs(outputs, inputs=(*files_of(source), *artifacts))
    for sink in sinks:
        sink.kind.check(sink.argument, force=force)


def open_sinks(sinks: Sequence[SinkRequest], context: SinkContext) -> tuple[Sink, ...]:
    """Return the sinks, not yet entered."""
    return tuple(sink.kind.sink(sink.argument, context) for sink in sinks)


def files_of(source: str) -> tuple[Path, ...]:
    """Return the files and folders that a source reads, none for cameras and streams.

    What follows a scheme, such as `file:` or a plug-in's own, counts where it exists.
    """
    rest = source.partition(":")[2].removeprefix("//")
    for text in (source, rest, rest.partition("?")[0]):
        if text and Path(text).exists():
            return (Path(text),)
    text = rest if source.startswith("file:") else source
    matching = [Path(name) for name in glob.glob(text, recursive=True)]  # noqa: PTH207 - a Path cannot start from "/"
    return (*matching, *{path.parent for path in matching})


__all__ = ["SinkContext", "SinkRequest", "check_sinks", "files_of", "open_sinks", "wanted"]
