"""The engine of the format pt2: torch itself, on the CPU. Nothing heavy is imported before an artifact is opened."""

from importlib import import_module, metadata
from importlib.util import find_spec
from typing import ClassVar

from edgeseg.core.protocols import EngineStatus
from edgeseg.errors import ArtifactError, MissingDependency


class TorchSession:
    def __init__(self, module) -> None:
        self._module = module

    def run(self, tensor):
        """Return the output of an input tensor."""
        import torch

        with torch.no_grad():
            return self._module(torch.from_numpy(tensor)).numpy()

    def close(self) -> None:
        self._module = None


class TorchEngine:
    name = "torch"
    formats = ("pt2",)
    extra = "train"
    proof = "engine"
    delegates = ("cpu",)
    choices: ClassVar[dict[str, tuple[str, ...]]] = {"deterministic": ("on", "off")}

    def status(self) -> EngineStatus:
        """Return torch's version, or how to install it; never raises."""
        if find_spec("torch") is None or find_spec("torchao") is None:
            return EngineStatus(available=False, reason="torch is not installed:", fix='pip install "edgeseg[train]"')
        return EngineStatus(available=True, version=metadata.version("torch"))

    def options(self) -> dict[str, str]:
        """Return what changes numbers or speed."""
        return {"kernels": "aten"}

    def open(self, artifact, *, backend) -> TorchSession:
        """Return a session; raises `MissingDependency` or `ArtifactError`."""
        status = self.status()
        if not status.available:
            raise MissingDependency(f"{status.reason} {status.fix}")
        import torch

        if artifact.manifest.scheme.needs_ranges:
            import_module("torchao.quantization.pt2e")  # registers the ops of quantize/dequantize pairs
        torch.set_num_threads(backend.threads or 1)
        torch.use_deterministic_algorithms(backend.options.get("deterministic") == "on")
        try:
            return TorchSession(torch.export.load(artifact.entry).module())
        except Exception as error:  # noqa: BLE001 - torch raises Python's own errors of every kind for a damaged file
            reason = " ".join(str(error).split())[:200]
            raise ArtifactError(f"{artifact.entry}: torch cannot open it: {reason}") from None


ENGINE = TorchEngine()
