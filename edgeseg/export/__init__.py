"""From a checkpoint to the deployment graph: preprocessing in the graph, batch norms folded, int8 where asked for."""

from __future__ import annotations

from edgeseg.export.calibrating import Calibrated, calibrate
from edgeseg.export.export import check_float_layers, export
from edgeseg.export.head import Output

__all__ = ["Calibrated", "Output", "calibrate", "check_float_layers", "export"]
