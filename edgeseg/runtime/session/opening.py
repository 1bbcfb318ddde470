"""From an artifact's folder to an open session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeseg.core.artifact import open_artifact
from edgeseg.runtime.session.session import Session, open_session
from edgeseg.runtime.session.verify import verify

if TYPE_CHECKING:
    from pathlib import Path


def load(folder: Path | str, *, engine: str | None = None, threads: int | None = None, trusted: bool = True) -> Session:
    """Return a session on the artifact in `folder`, every checksum verified.

    Without `engine`, the manifest's engine runs it with its delegate and options, or else the first other installed one
    that runs the format. Without `threads`, the manifest's number or four is taken, but no more than the cores here. An
    artifact that is not `trusted` is verified first, in a separate process (`verify`). From the first session on, new
    threads share the existing heaps (`share_one_heap`).

    Raises:
        ArtifactError: not an artifact, or an altered, truncated or missing file.
        UnknownName: no engine of that name.
        UnsupportedError: the engine does not run this format.
        MissingDependency: the engine's library is not installed.
        GateError: an artifact that is not trusted fails its verification.
    """
    if not trusted:
        verify(folder, engine=engine, threads=threads)
    return open_session(open_artifact(folder), engine=engine, threads=threads)
