"""`edgeseg.adopt`: a foreign model file to an artifact; the work is done in `edgeseg.deploy.foreign`."""

from __future__ import annotations

from edgeseg.deploy.foreign.adopt import FIRST_RUN, adopt
from edgeseg.deploy.foreign.starter import starter_spec

__all__ = ["FIRST_RUN", "adopt", "starter_spec"]
