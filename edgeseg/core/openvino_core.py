"""OpenVINO's `Core`, one for the whole process, and why never two."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from edgeseg.core.vendor_telemetry import forbid_telemetry

if TYPE_CHECKING:
    import openvino


@functools.cache
def openvino_core() -> openvino.Core:
    """Return the process's `openvino.Core`, made at the first call and kept to the end; OpenVINO must be installed.

    On Linux the CPU plug-in of every `Core` gives the calling thread an alternate signal stack of its own and, at its
    end, puts back the one that it found (`SigAltStackSetup` in OpenVINO's intel_cpu plug-in). Two that end in the order
    of their beginning leave the thread with a stack that is freed, and the next signal that Python handles, a Ctrl-C
    or the end of a data loader's worker, kills the process without a word. One that never ends cannot do that.
    """
    forbid_telemetry()
    import openvino

    return openvino.Core()
