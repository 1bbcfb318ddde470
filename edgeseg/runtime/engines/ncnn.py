"""ncnn: .param and .bin files on the CPU."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeseg.core.silence import native_output
from edgeseg.errors import ArtifactError
from edgeseg.runtime.engines.library import library_status, require

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from edgeseg.core.artifact import Artifact
    from edgeseg.core.backend import ResolvedBackend
    from edgeseg.core.proof import ProofLevel
    from edgeseg.core.protocols import EngineSession, EngineStatus

_log = logging.getLogger(__name__)
_HALVES = ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage")
"""ncnn's options for narrower floats. It turns the first three on where the CPU has them (Arm from ARMv8.2 on)."""
_MAGIC = b"7767517"


class NcnnSession:
    """A net whose extractor is made anew for each image; blobs hold copies of what goes in and comes out."""

    def __init__(self, net: Any, *, artifact: Artifact) -> None:
        import ncnn

        self._net: Any = net
        self._mat: Any = ncnn.Mat
        self._entry = artifact.entry
        self._input: str = net.input_names()[0]
        self._output: str = net.output_names()[artifact.manifest.output_position]

    def run(self, tensor: NDArray[Any]) -> NDArray[Any]:
        """Return the output; raises `ArtifactError` if ncnn fails on the net."""
        assert self._net is not None, "the session was closed"
        # The binding's Mat points into the array without keeping it alive: it stays named until the copy is made.
        planes = np.ascontiguousarray(tensor[0], np.float32)
        with self._net.create_extractor() as extractor:
            extractor.input(self._input, self._mat(planes).clone())
            status, blob = extractor.extract(self._output)
            if status != 0:
                raise ArtifactError(f"{self._entry}: ncnn cannot run it (status {status}).")
            return np.array(blob, np.float32)[None]

    def close(self) -> None:
        """Free the net."""
        if self._net is not None:
            self._net.clear()
        self._net = None


class Ncnn:
    """Tencent's ncnn. Files in fp32 are computed in float32 everywhere; ncnn's own default is float16 on newer Arm."""

    name = "ncnn"
    formats = ("ncnn",)
    extra = "ncnn"
    proof: ProofLevel = "engine"
    delegates = ("cpu",)
    choices: Mapping[str, tuple[str, ...]] = {}

    def status(self) -> EngineStatus:
        """Return the version of ncnn, or the command that installs it; never raises."""
        return library_status("ncnn", title="ncnn", distribution="ncnn", fix='pip install "edgeseg[ncnn]"')

    def options(self) -> dict[str, str]:
        """Return what changes numbers or speed."""
        return {"vulkan": "off", "halves": "fp16 files only"}

    def open(self, artifact: Artifact, *, backend: ResolvedBackend) -> EngineSession:
        """Return a session; raises `MissingDependency` or `ArtifactError`."""
        require(self.status())
        import ncnn

        path = artifact.entry
        weights = path.with_suffix(".bin")
        if not path.read_bytes()[: len(_MAGIC)] == _MAGIC or not weights.is_file():
            raise ArtifactError(f"{path}: not an ncnn .param file with its {weights.name} beside it.")
        net: Any = ncnn.Net()
        net.opt.use_vulkan_compute = False
        net.opt.num_threads = backend.threads or 1
        if artifact.manifest.scheme.mode != "fp16":
            for name in _HALVES:
                setattr(net.opt, name, False)
        with native_output(_log):
            loaded = net.load_param(str(path)) == 0 and net.load_model(str(weights)) == 0
        if not loaded or not net.input_names() or len(net.output_names()) <= artifact.manifest.output_position:
            raise ArtifactError(f"{path}: ncnn cannot open it: damaged, or with layers that this ncnn does not have.")
        return NcnnSession(net, artifact=artifact)


ENGINE = Ncnn()
