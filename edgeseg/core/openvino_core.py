"""OpenVINO's `Core`, exactly one per process."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from edgeseg.core.vendor_telemetry import forbid_telemetry

if TYPE_CHECKING:
    import openvino


@functools.cache
def openvino_core() -> openvino.Core:
    """Return the process's `openvino.Core`, created at the first call and never destroyed; OpenVINO must be installed.

    On Linux the CPU plug-in of each `Core` installs an alternate signal stack in the calling thread and restores the
    previous one when destroyed (`SigAltStackSetup` in OpenVINO's intel_cpu plug-in). If two cores are destroyed in the
    order of their creation, the thread is left with a freed stack, and the next signal that Python handles (Ctrl-C, or
    the exit of a data loader's worker) crashes the process. A single core that is never destroyed avoids this.
    """
    forbid_telemetry()
    import openvino

    return openvino.Core()
