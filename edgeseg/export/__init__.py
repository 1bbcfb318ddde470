"""From a checkpoint to the deployment graph: preprocessing in the graph, batch norms folded, int8 where requested."""

from __future__ import annotations

from edgeseg.export.calibrating import Calibrated, calibrate_ranges, check_kinds
from edgeseg.export.export import check_float_layers, export
from edgeseg.export.head import DeployedOutput, RequestedOutput

__all__ = [
    "Calibrated",
    "DeployedOutput",
    "RequestedOutput",
    "calibrate_ranges",
    "check_float_layers",
    "check_kinds",
    "export",
]
