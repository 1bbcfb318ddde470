"""Runs in QNN's environment, as a script: a context binary on the HTP simulator, tensor after tensor.

Input: one JSON line (path, alone), then tensors; output: one JSON line (inputs, error), then tensors. A tensor is its
size in bytes as 8 little-endian bytes, and its bytes. Nothing of edgeseg is imported here.
"""

import json
import os
import struct
import sys
from typing import Any

_PROVIDER = "QNNExecutionProvider"


def _main() -> None:
    # QNN prints to stdout: our answers go through a copy of it, and its words to stderr.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    asked = sys.stdin.buffer
    request = json.loads(asked.readline())
    try:
        session = _open(request)
    except Exception as error:  # noqa: BLE001 - its exceptions share no base class
        answers.write(json.dumps({"error": " ".join(str(error).split())[:300]}).encode() + b"\n")
        answers.flush()
        return
    import numpy as np

    image = session.get_inputs()[0]
    answers.write(json.dumps({"error": ""}).encode() + b"\n")
    answers.flush()
    while True:
        head = asked.read(8)
        if len(head) < 8:
            return
        (size,) = struct.unpack("<q", head)
        tensor = np.frombuffer(asked.read(size), request["dtype"]).reshape(image.shape)
        output = np.ascontiguousarray(session.run([request["output"]], {image.name: tensor})[0])
        answers.write(struct.pack("<q", output.nbytes) + output.tobytes())
        answers.flush()


def _open(request: dict[str, Any]) -> Any:
    import onnxruntime
    import onnxruntime_qnn  # type: ignore[import-not-found]

    onnxruntime.register_execution_provider_library(_PROVIDER, onnxruntime_qnn.get_library_path())
    devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == _PROVIDER]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if request["alone"]:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    options.add_provider_for_devices(devices[:1], {"backend_path": onnxruntime_qnn.get_qnn_htp_path()})
    return onnxruntime.InferenceSession(request["path"], options)


if __name__ == "__main__":
    _main()
