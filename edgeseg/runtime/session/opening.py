"""From an artifact's folder to an open session."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from edgeseg.core.artifact import Artifact, open_artifact
from edgeseg.core.trust import is_known, remember
from edgeseg.runtime.session.engine_choice import choose_engine
from edgeseg.runtime.session.session import Session, open_session
from edgeseg.runtime.session.verify import try_out, verify

if TYPE_CHECKING:
    from pathlib import Path

_log = logging.getLogger(__name__)


def load(
    folder: Path | str, *, engine: str | None = None, threads: int | None = None, trusted: bool | None = None
) -> Session:
    """Return a session on the artifact in `folder`, every checksum verified.

    Without `engine`, the manifest's engine runs it with its delegate and options, or else the first other installed one
    that runs the format. Without `threads`, the manifest's number or four is taken, but no more than the cores here.
    From the first session on, new threads share the existing heaps (`share_one_heap`).

    An artifact that this machine does not know (`edgeseg.core.trust`) first runs its golden sample in a process of its
    own, with limits on time and memory, and is known afterwards. `trusted=True` opens it directly; `trusted=False`
    verifies it each time (`verify`), and requires its golden labels.

    Raises:
        ArtifactError: not an artifact; an altered, truncated or missing file; an unknown artifact whose first run
            crashes, does not end, or takes too much memory.
        UnknownName: no engine of that name.
        UnsupportedError: the engine does not run this format.
        MissingDependency: the engine's library is not installed.
        GateError: `trusted=False`, and the golden labels are not repeated.
    """
    artifact = open_artifact(folder)
    if trusted is None:
        assure(artifact, engine=engine, threads=threads)
    elif not trusted:
        verify(folder, engine=engine, threads=threads)
    return open_session(artifact, engine=engine, threads=threads)


def assure(artifact: Artifact, *, engine: str | None = None, threads: int | None = None) -> None:
    """Run an unknown artifact's golden sample once in a process of its own, and remember it; raises as `load` does."""
    name = choose_engine(artifact.manifest, name=engine).name
    if is_known(artifact, engine=name):
        return
    _log.info("%s: unknown here; its first run is in a process of its own", artifact.folder)
    try_out(artifact.folder, engine=name, threads=threads)
    remember(artifact, how="ran", engine=name)
