"""Core ML itself, through coremltools on macOS. Written against its documentation; not run on Apple hardware yet."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeseg.core.protocols import EngineSession, EngineStatus
from edgeseg.errors import ArtifactError
from edgeseg.runtime.engines.library import library_status, require

if TYPE_CHECKING:
    from edgeseg.core.artifact import Artifact


class CoreMLSession:
    """A compiled package; takes the image tensor and hands Core ML the image that it wants."""

    def __init__(self, model: Any, *, input_name: str, output_name: str, bgr: bool) -> None:
        self._model = model
        self._input_name = input_name
        self._output_name = output_name
        self._bgr = bgr

    def run(self, tensor: np.ndarray) -> np.ndarray:
        """Return the output for an image (1, 3, H, W) uint8 in the package's colour order."""
        from PIL import Image  # coremltools takes images as Pillow's

        pixels = tensor[0].transpose(1, 2, 0)
        # Pillow's images are RGB; Core ML puts the channels in the order that the package was converted for.
        image = Image.fromarray(np.ascontiguousarray(pixels[..., ::-1] if self._bgr else pixels))
        return np.asarray(self._model.predict({self._input_name: image})[self._output_name])

    def close(self) -> None:
        self._model = None


class CoreML:
    """Apple's Core ML on the compute units that it chooses (CPU, GPU, Neural Engine)."""

    name = "coreml"
    formats = ("coreml",)
    extra = "coreml"

    def status(self) -> EngineStatus:
        """Return the version of coremltools on macOS; elsewhere why not, and what to use instead; never raises."""
        if sys.platform != "darwin":
            return EngineStatus(
                available=False,
                reason="Core ML predicts on macOS only;",
                mend="the engine mil-reference evaluates the package here: --engine mil-reference",
            )
        found = library_status(
            "coremltools", title="coremltools", distribution="coremltools", mend='pip install "edgeseg[coreml]" pillow'
        )
        if not found.available:
            return found
        pillow = library_status("PIL.Image", title="Pillow", distribution="pillow", mend="pip install pillow")
        return found if pillow.available else pillow

    def options(self) -> dict[str, str]:
        """Return what changes numbers or speed."""
        return {"compute_units": "all"}

    def open(self, artifact: Artifact, *, threads: int) -> EngineSession:
        """Return a session; Core ML chooses its threads itself. Raises `MissingDependency` or `ArtifactError`."""
        require(self.status())
        import coremltools

        manifest = artifact.manifest
        try:
            model = coremltools.models.MLModel(str(artifact.entry), compute_units=coremltools.ComputeUnit.ALL)
        except Exception as error:  # the framework's errors come through as every kind of exception
            raise ArtifactError(f"{artifact.entry}: Core ML cannot open it: {error}") from None
        return CoreMLSession(
            model,
            input_name=manifest.inputs[0].name,
            output_name=manifest.outputs[0].name,
            bgr=manifest.spec.preprocess.color_order == "bgr",
        )


ENGINE = CoreML()
