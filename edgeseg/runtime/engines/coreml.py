"""Core ML itself, through coremltools on macOS. Written against its documentation; not run on Apple hardware yet."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeseg.core.protocols import EngineSession, EngineStatus
from edgeseg.errors import ArtifactError
from edgeseg.runtime.engines.library import library_status, require

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeseg.core.artifact import Artifact
    from edgeseg.core.backend import ResolvedBackend
    from edgeseg.core.proof import ProofLevel


COMPUTE_UNITS = {"all": "ALL", "cpu": "CPU_ONLY", "cpu-and-gpu": "CPU_AND_GPU", "cpu-and-neural-engine": "CPU_AND_NE"}
"""Delegates by the names of coremltools' `ComputeUnit`."""


class CoreMLSession:
    """A compiled package; takes the image tensor and hands Core ML the image that it wants."""

    def __init__(
        self, model: Any, *, input_name: str, output_name: str, image: bool, bgr: bool, settings: dict[str, str]
    ) -> None:
        self.settings = settings
        self._model = model
        self._input_name = input_name
        self._output_name = output_name
        self._image = image
        self._bgr = bgr

    def run(self, tensor: np.ndarray) -> np.ndarray:
        """Return the output for an image (1, 3, H, W) uint8 in the package's colour order, or for an array."""
        if not self._image:
            return np.asarray(self._model.predict({self._input_name: tensor})[self._output_name])
        from PIL import Image  # coremltools takes images as Pillow's

        pixels = tensor[0].transpose(1, 2, 0)
        # Pillow's images are RGB; Core ML puts the channels in the order that the package was converted for.
        image = Image.fromarray(np.ascontiguousarray(pixels[..., ::-1] if self._bgr else pixels))
        return np.asarray(self._model.predict({self._input_name: image})[self._output_name])

    def close(self) -> None:
        """Free the compiled model."""
        self._model = None


class CoreML:
    """Apple's Core ML on the compute units that it chooses (CPU, GPU, Neural Engine)."""

    name = "coreml"
    formats = ("coreml",)
    extra = "coreml"
    proof: ProofLevel = "engine"
    delegates = tuple(COMPUTE_UNITS)
    choices: Mapping[str, tuple[str, ...]] = {}

    def status(self) -> EngineStatus:
        """Return the version of coremltools on macOS; elsewhere the reason and what to use instead; never raises."""
        if sys.platform != "darwin":
            return EngineStatus(
                available=False,
                reason="Core ML predicts on macOS only;",
                fix="the engine mil-reference evaluates the package here: --engine mil-reference",
            )
        found = library_status(
            "coremltools", title="coremltools", distribution="coremltools", fix='pip install "edgeseg[coreml]" pillow'
        )
        if not found.available:
            return found
        pillow = library_status("PIL.Image", title="Pillow", distribution="pillow", fix="pip install pillow")
        return found if pillow.available else pillow

    def options(self) -> dict[str, str]:
        """Return what changes numbers or speed."""
        return {"compute_units": "all"}

    def open(self, artifact: Artifact, *, backend: ResolvedBackend) -> EngineSession:
        """Return a session; Core ML chooses its threads itself. Raises `MissingDependency` or `ArtifactError`."""
        require(self.status())
        import coremltools

        manifest = artifact.manifest
        units = getattr(coremltools.ComputeUnit, COMPUTE_UNITS[backend.delegate or "all"])
        try:
            model = coremltools.models.MLModel(str(artifact.entry), compute_units=units)
        except Exception as error:  # noqa: BLE001 - the framework raises any kind of exception
            raise ArtifactError(f"{artifact.entry}: Core ML cannot open it: {error}") from None
        file = manifest.file
        return CoreMLSession(
            model,
            settings={"compute_units": backend.delegate or "all"},
            input_name=manifest.inputs[0].name if file is None else file.input.name,
            output_name=manifest.outputs[0].name if file is None else file.output.name,
            image=manifest.inputs[0].dtype == "uint8",
            bgr=manifest.preprocess.color_order == "bgr",
        )


ENGINE = CoreML()
