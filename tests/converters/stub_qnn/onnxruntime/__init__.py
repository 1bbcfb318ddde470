"""The installed ONNX Runtime with a stand-in for the QNN provider: a context "binary" is the source file in a node.

Option htp_arch 81 leaves the net's first Cast to the CPU, and 69 fails. STUB_QNN=crash ends the process that opens one.
"""

import atexit
import os
import sys
from pathlib import Path
from types import SimpleNamespace

_HERE = str(Path(__file__).resolve().parent.parent)
_ALL = list(sys.path)
sys.path[:] = [entry for entry in sys.path if str(Path(entry).resolve()) != _HERE]
del sys.modules["onnxruntime"]
import onnxruntime as real  # noqa: E402

sys.path[:] = _ALL

_Options, _Session = real.SessionOptions, real.InferenceSession


class SessionOptions(_Options):
    def __init__(self) -> None:
        super().__init__()
        self.given: dict = {}
        self.provider: dict = {}

    def add_session_config_entry(self, key: str, value: str) -> None:
        self.given[key] = value

    def add_provider_for_devices(self, devices: list, settings: dict) -> None:
        assert settings["backend_path"] == "htp"
        self.provider = settings


def session(path: str, options: SessionOptions) -> object:
    import onnx
    from onnx import helper

    model = onnx.load(path)
    contexts = [node for node in model.graph.node if node.op_type == "EPContext"]
    if contexts:
        left = len(contexts) < len(model.graph.node)
        if left and options.given.get("session.disable_cpu_ep_fallback") == "1":
            raise RuntimeError("fallback to CPU EP has been explicitly disabled")
        if os.environ.get("STUB_QNN") == "crash":
            os.abort()
        return _Session(contexts[0].attribute[0].s, providers=["CPUExecutionProvider"])
    atexit.register(os.write, 1, b" # LIBNATIVE: words on stdout after the answer\n")
    if options.provider["htp_arch"] == "69":
        raise RuntimeError("Failed to finalize QNN graph")
    context = helper.make_node("EPContext", ["image"], ["logits"], domain="com.microsoft")
    context.attribute.append(helper.make_attribute("ep_cache_context", Path(path).read_bytes()))
    left = [node for node in model.graph.node if node.op_type == "Cast" and options.provider["htp_arch"] == "81"]
    del model.graph.node[:]
    model.graph.node.extend([*left, context])
    Path(options.given["ep.context_file_path"]).write_bytes(model.SerializeToString())
    return None


real.SessionOptions, real.InferenceSession = SessionOptions, session
real.register_execution_provider_library = lambda name, path: None
real.get_ep_devices = lambda: [SimpleNamespace(ep_name="QNNExecutionProvider")]
