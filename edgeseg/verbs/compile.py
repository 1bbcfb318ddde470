"""`edgeseg.compile`: an artifact to one for a single chip; the work is done in `edgeseg.deploy`."""

from __future__ import annotations

from edgeseg.deploy.compile import compile_artifact

__all__ = ["compile_artifact"]
