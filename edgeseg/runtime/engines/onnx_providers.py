"""ONNX Runtime on an NVIDIA GPU, through its TensorRT or its CUDA provider. Neither ran on a GPU yet."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeseg.core.protocols import EngineStatus
from edgeseg.errors import ArtifactError, UnsupportedError
from edgeseg.runtime.engines.cuda import cuda_fault
from edgeseg.runtime.engines.library import require
from edgeseg.runtime.engines.onnx_placement import placements_of_run
from edgeseg.runtime.engines.onnx_profile import session_options
from edgeseg.runtime.engines.onnxruntime import OnnxRuntime, OnnxRuntimeSession

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnxruntime

    from edgeseg.core.artifact import Artifact
    from edgeseg.core.backend import ResolvedBackend
    from edgeseg.core.placement import OpPlacement
    from edgeseg.core.protocols import EngineSession

CUDA_PROVIDER = "CUDAExecutionProvider"
TENSORRT_PROVIDER = "TensorrtExecutionProvider"
_NO_FALLBACK = ("session.disable_cpu_ep_fallback", "1")
"""Opening fails where an op would run on the CPU; see onnxruntime_session_options_config_keys.h."""

_log = logging.getLogger(__name__)


class OnnxRuntimeGpu(OnnxRuntime):
    """ONNX Runtime with one of NVIDIA's providers first. Ops fall back to the CPU only with a warning that says so."""

    name = "onnxruntime-cuda"
    formats: tuple[str, ...] = ("onnx",)
    delegates = ("cuda",)
    provider = CUDA_PROVIDER
    choices: Mapping[str, tuple[str, ...]] = {"tf32": ("off", "on")}
    # No layer times: the CPU engine's method times the CPU, and the profile of a GPU has the times of launches.
    layer_ms = None  # type: ignore[assignment]

    def status(self) -> EngineStatus:
        """Return the version of ONNX Runtime if it has the provider and there is a GPU, else why not; never raises."""
        found = super().status()
        if not found.available:
            return found
        import onnxruntime

        here = onnxruntime.get_available_providers()
        if self.provider not in here:
            return EngineStatus(
                available=False,
                reason=f"ONNX Runtime {found.version} has no {self.provider} here, only {', '.join(here)}:",
                fix="pip uninstall onnxruntime && pip install onnxruntime-gpu; on a Jetson, NVIDIA's wheel for its "
                "JetPack",
            )
        fault = cuda_fault()
        return EngineStatus(available=False, reason=fault, fix="Run it on the device.") if fault else found

    def options(self) -> dict[str, str]:
        """Return what changes numbers or speed."""
        return {"provider": self.provider, "graph_optimization": "all", "tf32": "off"}

    def providers(self, artifact: Artifact, *, options: Mapping[str, str]) -> list[tuple[str, dict[str, str]]]:
        """Return ONNX Runtime's providers in order, with their options; the CPU's comes last of itself."""
        return [(CUDA_PROVIDER, {"use_tf32": "1" if options.get("tf32") == "on" else "0"})]

    def open(self, artifact: Artifact, *, backend: ResolvedBackend) -> EngineSession:
        """Return a session that runs whole on the GPU, else one with a warning that some ops run on the CPU.

        Raises:
            MissingDependency: no ONNX Runtime with this provider, or no GPU.
            UnsupportedError: the provider does not start.
            ArtifactError: ONNX Runtime does not open the file.
        """
        require(self.status())
        settings = {"cpu_fallback": "no"}
        try:
            session = self._session(artifact, backend, alone=True)
        except UnsupportedError:
            raise
        except Exception as error:  # noqa: BLE001 - its exceptions share no base class
            session = self._with_fallback(artifact, backend, first=error)
            settings["cpu_fallback"] = "yes"
            _log.warning(
                "%s: some of its ops run on the CPU, not on the GPU through %s. edgeseg verify ARTIFACT --engine %s "
                "--require-delegation 100 names them.",
                artifact.manifest.name,
                self.provider,
                self.name,
            )
        return _ProviderSession(session, artifact=artifact, settings=settings)

    def placements(self, artifact: Artifact, *, backend: ResolvedBackend) -> tuple[OpPlacement, ...]:
        """Return which provider ran each node, from ONNX Runtime's profile of one run; raises as `open`.

        What TensorRT fused is one node.
        """
        require(self.status())

        def opened(options: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession:
            return self._opened(artifact, backend, options)

        return placements_of_run(
            opened, _options(backend), artifact=artifact, units={self.provider: "gpu", CUDA_PROVIDER: "gpu"}
        )

    def _with_fallback(
        self, artifact: Artifact, backend: ResolvedBackend, *, first: Exception
    ) -> onnxruntime.InferenceSession:
        try:
            return self._session(artifact, backend, alone=False)
        except Exception as error:  # noqa: BLE001 - its exceptions share no base class
            reason = " ".join(f"{error}".split()) or " ".join(f"{first}".split())
            raise ArtifactError(
                f"{artifact.entry}: ONNX Runtime's {self.provider} cannot open it: {reason[:300]}"
            ) from None

    def _session(self, artifact: Artifact, backend: ResolvedBackend, *, alone: bool) -> onnxruntime.InferenceSession:
        options = _options(backend)
        if alone:
            options.add_session_config_entry(*_NO_FALLBACK)
        return self._opened(artifact, backend, options)

    def _opened(
        self, artifact: Artifact, backend: ResolvedBackend, options: onnxruntime.SessionOptions
    ) -> onnxruntime.InferenceSession:
        import onnxruntime

        session = onnxruntime.InferenceSession(
            str(artifact.entry),
            sess_options=options,
            providers=self.providers(artifact, options=backend.options),
            # Else it prints a banner, drops the provider and goes on with the CPU.
            enable_fallback=0,
        )
        if self.provider not in session.get_providers():
            raise UnsupportedError(
                f"ONNX Runtime could not start its {self.provider}: a library of CUDA, cuDNN or TensorRT is missing or "
                f"of another version. It offers {', '.join(session.get_providers())}. For the CPU: --engine onnxruntime"
            )
        return session


class OnnxRuntimeTensorRT(OnnxRuntimeGpu):
    """ONNX Runtime's TensorRT provider; what TensorRT does not take runs through CUDA, both on the GPU.

    It builds engines when it opens a file, which takes minutes on a Jetson, and keeps them: option `engine_cache`.
    """

    name = "onnxruntime-tensorrt"
    formats = ("tensorrt-onnx", "onnx")
    delegates = ("tensorrt",)
    provider = TENSORRT_PROVIDER
    choices: Mapping[str, tuple[str, ...]] = {"rest": ("fp32", "fp16"), "engine_cache": ()}

    def options(self) -> dict[str, str]:
        """Return what changes numbers or speed: `rest` is the precision of layers without int8 pairs."""
        return {"provider": self.provider, "graph_optimization": "all", "rest": "fp32"}

    def providers(self, artifact: Artifact, *, options: Mapping[str, str]) -> list[tuple[str, dict[str, str]]]:
        """Return TensorRT, then CUDA; int8 for a file with int8 pairs, and float16 where `rest` allows it."""
        cache = Path(options.get("engine_cache") or _cache(artifact))
        try:
            cache.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UnsupportedError(
                f"{cache}: TensorRT's engines cannot be kept there: {error.strerror}. Set engine_cache in the target's "
                "[backends.options]."
            ) from None
        half = options.get("rest") == "fp16" or artifact.manifest.scheme.mode == "fp16"
        settings = {
            "trt_int8_enable": "1" if artifact.manifest.scheme.needs_ranges else "0",
            "trt_fp16_enable": "1" if half else "0",
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": str(cache),
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": str(cache),
        }
        return [(TENSORRT_PROVIDER, settings), *super().providers(artifact, options={})]


class _ProviderSession(OnnxRuntimeSession):
    """A session of a provider, with what was found out about it for the measurement."""

    def __init__(self, session: onnxruntime.InferenceSession, *, artifact: Artifact, settings: dict[str, str]) -> None:
        output: Any = session.get_outputs()[artifact.manifest.output_position]
        super().__init__(session, input_name=session.get_inputs()[0].name, output_name=output.name)
        self.settings = settings


def _options(backend: ResolvedBackend) -> onnxruntime.SessionOptions:
    return session_options(threads=backend.threads or 1)


def _cache(artifact: Artifact) -> Path:
    """Return the folder for TensorRT's engines of an artifact; its hash keeps those of two files apart."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "edgeseg" / "tensorrt" / artifact.sha256[:16]


ONNX_CUDA = OnnxRuntimeGpu()
ONNX_TENSORRT = OnnxRuntimeTensorRT()
