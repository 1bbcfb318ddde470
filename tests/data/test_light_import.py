"""The data room works where there is no torch: on a device."""

from __future__ import annotations

import subprocess
import sys

_PROBE = """
import sys
for name in ("torch", "onnx", "tensorflow"):
    sys.modules[name] = None
from edgeseg.data import StreetVideo, open_dataset
StreetVideo(1, size=(60, 80)).frame(0)
open_dataset("streets:1", split="val").load(0)
print("fine")
"""


def test_data_needs_no_torch():
    done = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "fine"), done.stderr
