"""`edgeseg.convert`: a checkpoint to proven artifacts; the work is done in `edgeseg.deploy`."""

from __future__ import annotations

from edgeseg.deploy.convert import ConversionPlan, convert, plan

__all__ = ["ConversionPlan", "convert", "plan"]
