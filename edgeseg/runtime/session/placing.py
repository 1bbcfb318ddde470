"""Where each op of an artifact runs on an engine of this machine, by the engine's own account of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeseg.core.protocols import PlacingEngine
from edgeseg.errors import UnsupportedError
from edgeseg.runtime.session.engine_choice import choose_backend, choose_engine

if TYPE_CHECKING:
    from edgeseg.core.artifact import Artifact
    from edgeseg.core.placement import OpPlacement


def placements_here(artifact: Artifact, *, engine: str, threads: int) -> tuple[OpPlacement, ...]:
    """Return where each op ran, for one input of zeros.

    Raises:
        UnsupportedError: the engine does not tell.
        Others as `edgeseg.runtime.load`.
    """
    chosen = choose_engine(artifact.manifest, name=engine)
    if not isinstance(chosen, PlacingEngine):
        raise UnsupportedError(
            f"{engine} does not tell where ops ran. The placement of a compiled artifact is checked when it is made: "
            "edgeseg compile or convert --require-delegation."
        )
    return chosen.placements(artifact, backend=choose_backend(artifact.manifest, engine=chosen, threads=threads))
