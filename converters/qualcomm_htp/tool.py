"""Runs in QNN's environment, as a script: a quantized ONNX file becomes one with a context binary for the HTP.

Input, one JSON object: source, target, options (the QNN provider's). Output, the last line: what compile.py's `_Answer`
holds. Nothing of edgeseg is imported here, and nothing that is not in that environment.
"""

import json
import os
import sys
import tempfile
from importlib import metadata
from pathlib import Path

_PROVIDER = "QNNExecutionProvider"


def _main() -> None:
    # QNN prints to stdout, even at its end: the answer goes through a copy of it, and QNN's words to stderr.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    request = json.loads(sys.stdin.readline())
    import onnxruntime
    import onnxruntime_qnn  # type: ignore[import-not-found]

    onnxruntime.register_execution_provider_library(_PROVIDER, onnxruntime_qnn.get_library_path())
    devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == _PROVIDER]
    if not devices:
        sys.exit("ONNX Runtime lists no device of the QNN provider.")
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "model.onnx"
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 2
        options.add_session_config_entry("ep.context_enable", "1")
        options.add_session_config_entry("ep.context_file_path", str(made))
        options.add_session_config_entry("ep.context_embed_mode", "1")
        # By default the provider leaves the first QuantizeLinear and the last DequantizeLinear to the CPU.
        own = {"backend_path": onnxruntime_qnn.get_qnn_htp_path(), "offload_graph_io_quantization": "0"}
        options.add_provider_for_devices(devices[:1], {**own, **request["options"]})
        onnxruntime.InferenceSession(request["source"], options)
        if not made.is_file():
            sys.exit("QNN takes nothing of this net: it wrote no context binary.")
        Path(request["target"]).write_bytes(made.read_bytes())
    versions = {name: metadata.version(name) for name in ("onnxruntime", "onnxruntime-qnn")}
    answers.write(json.dumps({"versions": versions}) + "\n")
    answers.close()


if __name__ == "__main__":
    _main()
