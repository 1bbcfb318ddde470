"""Qualcomm HTP: context binaries on the chip (not run yet), or on Qualcomm's simulator of it on x86-64 Linux."""

from __future__ import annotations

import contextlib
import importlib
import json
import platform
import struct
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from edgeseg.core.placement import CPU
from edgeseg.core.protocols import EngineStatus
from edgeseg.errors import ArtifactError, EdgesegError
from edgeseg.runtime.engines.library import library_status, require
from edgeseg.runtime.engines.onnx_profile import session_options
from edgeseg.runtime.engines.onnxruntime import OnnxRuntimeSession

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from edgeseg.core.artifact import Artifact
    from edgeseg.core.backend import ResolvedBackend
    from edgeseg.core.proof import ProofLevel
    from edgeseg.core.protocols import EngineSession

QNN_TOOLCHAIN_NAME = "onnxruntime-qnn"
QNN_PROVIDER = "QNNExecutionProvider"
RUN_LIMIT_S = 600.0
_ARM = ("aarch64", "arm64", "ARM64")


class Qnn:
    """ONNX Runtime with its QNN provider on a Snapdragon, without fallback to the CPU unless the file needs it."""

    name = "qnn"
    formats = ("qnn-context",)
    extra = "onnx"
    proof: ProofLevel = "engine"
    delegates = ("htp",)
    choices: Mapping[str, tuple[str, ...]] = {"htp_performance_mode": ("burst", "balanced", "high_performance")}

    def status(self) -> EngineStatus:
        """Return the version of the QNN provider, or why it does not run here; never raises."""
        fix = "pip install onnxruntime onnxruntime-qnn"
        if platform.machine() not in _ARM:
            return EngineStatus(
                available=False, reason="this is no Snapdragon: a context binary runs on its own chip only.", fix=""
            )
        return library_status("onnxruntime_qnn", title="onnxruntime-qnn", distribution="onnxruntime-qnn", fix=fix)

    def options(self) -> dict[str, str]:
        """Return what changes numbers or speed."""
        return {"provider": QNN_PROVIDER, "backend": "htp"}

    def open(self, artifact: Artifact, *, backend: ResolvedBackend) -> EngineSession:
        """Return a session; raises `MissingDependency` or `ArtifactError`."""
        require(self.status())
        import onnxruntime

        onnxruntime_qnn: Any = importlib.import_module("onnxruntime_qnn")
        settings = {"backend_path": onnxruntime_qnn.get_qnn_htp_path(), **backend.options}
        try:
            if not any(device.ep_name == QNN_PROVIDER for device in onnxruntime.get_ep_devices()):
                onnxruntime.register_execution_provider_library(QNN_PROVIDER, onnxruntime_qnn.get_library_path())
            devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == QNN_PROVIDER]
            options = session_options(threads=backend.threads or 1)
            if all_on_npu(artifact):
                options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
            options.add_provider_for_devices(devices[:1], settings)
            session = onnxruntime.InferenceSession(str(artifact.entry), options)
        except Exception as error:  # noqa: BLE001 - its exceptions share no base class
            raise ArtifactError(f"{artifact.entry}: QNN cannot open it: {' '.join(str(error).split())[:300]}") from None
        output = session.get_outputs()[artifact.manifest.output_position]
        return OnnxRuntimeSession(session, input_name=session.get_inputs()[0].name, output_name=output.name)


class QnnSimulator:
    """Qualcomm's HTP simulator in the environment of the toolchain `onnxruntime-qnn`. Its time is no device's time."""

    name = "qnn-simulator"
    formats = ("qnn-context",)
    extra = "onnx"
    proof: ProofLevel = "simulator"
    delegates = ("htp",)
    choices: Mapping[str, tuple[str, ...]] = {}

    def status(self) -> EngineStatus:
        """Return the toolchain's version, or the command that installs it; never raises."""
        from edgeseg.toolchains import find_toolchain, toolchain_status

        try:
            tool = find_toolchain(QNN_TOOLCHAIN_NAME)
            tool.check_machine()
            found = toolchain_status(tool)
        except EdgesegError as error:
            return EngineStatus(available=False, reason=str(error))
        if found.state != "installed":
            return EngineStatus(available=False, reason=f"{tool.title} {found.detail}:", fix=found.fix)
        return EngineStatus(available=True, version=tool.version, reason="HTP simulator, not Qualcomm hardware")

    def options(self) -> dict[str, str]:
        """Return what is special about this engine: its numbers count, its latency does not."""
        return {"hardware": "HTP simulator, not Qualcomm hardware", "latency": "meaningless"}

    def open(self, artifact: Artifact, *, backend: ResolvedBackend) -> EngineSession:
        """Return a session; raises `MissingDependency` or `ArtifactError`."""
        from edgeseg.toolchains import require_toolchain

        return SimulatorSession(artifact, python=require_toolchain(QNN_TOOLCHAIN_NAME).python)


def all_on_npu(artifact: Artifact) -> bool:
    """Return whether the compiler left no op to the CPU: then no engine may fall back to it."""
    placements = artifact.manifest.placements
    return bool(placements) and all(item.unit != CPU for item in placements)


class SimulatorSession:
    """A child process that holds the simulator; it ends with its standard input."""

    def __init__(self, artifact: Artifact, *, python: Path) -> None:
        manifest = artifact.manifest
        output = manifest.outputs[manifest.output_position]
        self._entry, self._shape, self._dtype = artifact.entry, output.shape, output.dtype
        self._child: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the session
        self._one_at_a_time = threading.Lock()
        self._child = subprocess.Popen(
            [str(python), "-I", str(Path(__file__).with_name("qnn_worker.py"))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log,
        )  # fmt: skip
        request = {
            "path": str(artifact.entry.resolve()),
            "alone": all_on_npu(artifact),
            "dtype": manifest.inputs[0].dtype,
            "output": output.name,
        }
        line = self._exchange(json.dumps(request).encode() + b"\n", read=lambda stream: stream.readline())
        try:
            error = json.loads(line)["error"]
        except (ValueError, KeyError):
            error = self._last_words() or "it ended"
        if error:
            self.close()
            raise ArtifactError(f"{self._entry}: QNN cannot open it: {error}")

    def run(self, tensor: NDArray[Any]) -> NDArray[Any]:
        """Return the output; raises `ArtifactError` if the simulator ends or does not end within `RUN_LIMIT_S`."""
        assert self._child is not None, "the session was closed"
        data = np.ascontiguousarray(tensor).tobytes()
        with self._one_at_a_time:
            answer = self._exchange(struct.pack("<q", len(data)) + data, read=_read_tensor)
        if len(answer) != int(np.prod(self._shape)) * np.dtype(self._dtype).itemsize:
            raise ArtifactError(f"{self._entry}: QNN's simulator failed: {self._last_words() or 'it ended'}")
        return np.frombuffer(answer, self._dtype).reshape(self._shape)

    def close(self) -> None:
        """End the child."""
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        child.wait()
        for stream in (child.stdin, child.stdout, self._log):
            if stream is not None:
                # What a child that had ended did not read is still in the buffer, and closing writes it.
                with contextlib.suppress(OSError):
                    stream.close()

    def _exchange(self, data: bytes, *, read: Any) -> bytes:
        child = self._child
        assert child is not None
        assert child.stdin is not None
        timer = threading.Timer(RUN_LIMIT_S, child.kill)
        timer.start()
        try:
            child.stdin.write(data)
            child.stdin.flush()
            return bytes(read(child.stdout))
        except OSError:
            return b""
        finally:
            timer.cancel()

    def _last_words(self) -> str:
        if self._log.closed:
            return ""
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").splitlines()
        return " | ".join(line.strip() for line in lines[-3:] if line.strip())[:300]

    def __del__(self) -> None:
        self.close()


def _read_tensor(stream: IO[bytes]) -> bytes:
    head = stream.read(8)
    return stream.read(struct.unpack("<q", head)[0]) if len(head) == 8 else b""


ENGINE = Qnn()
SIMULATOR = QnnSimulator()
