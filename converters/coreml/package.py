"""The package: coremltools' conversion, silenced, with the model's description written into it."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from typing import TYPE_CHECKING, Any

from edgeseg.converters.coreml.canonical import make_reproducible
from edgeseg.core.silence import native_output, quiet_loggers
from edgeseg.core.version import VERSION
from edgeseg.errors import ConversionError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edgeseg.converters.coreml.lowering import Lowered
    from edgeseg.core.exported import ExportedModel
    from edgeseg.core.spec import ModelSpec

_log = logging.getLogger(__name__)


def write_package(lowered: Lowered, *, exported: ExportedModel, path: Path) -> Any:
    """Write the `.mlpackage` at `path` and return its protobuf specification; raises `ConversionError`."""
    with quiet_coremltools():
        try:
            model = _convert(lowered, exported=exported)
            _describe(model, spec=exported.spec, precision=exported.scheme.name)
            model.save(str(path))
            make_reproducible(path)
        except Exception as error:
            raise ConversionError(f"Core ML conversion failed: {type(error).__name__}: {error}") from error
        return model.get_spec()


@contextlib.contextmanager
def quiet_coremltools() -> Iterator[None]:
    """Keep coremltools' progress bars, its version notices and torch's deprecations off the terminal."""
    said = io.StringIO()
    # "Torch has not been tested with coremltools": the parity proof of every artifact is that test.
    with quiet_loggers("coremltools", "torchao", "torch.utils._pytree"), warnings.catch_warnings():
        # Deprecated calls inside torch, torchao and coremltools; users cannot fix them.
        for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
            warnings.filterwarnings("ignore", category=category)
        # coremltools leaves its temporary folder to the garbage collector, which is early enough.
        warnings.filterwarnings("ignore", message="Implicitly cleaning up", category=ResourceWarning)
        # numpy 2.4 warns where coremltools folds constants that overflow, or takes arrays of one number as scalars.
        for kind in (RuntimeWarning, UserWarning):
            warnings.filterwarnings("ignore", category=kind, module="coremltools|torchao")
        with native_output(_log), contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            yield
    if said.getvalue():
        _log.debug("coremltools: %s", said.getvalue())


def _convert(lowered: Lowered, *, exported: ExportedModel) -> Any:
    import coremltools as ct
    import numpy as np

    bgr = exported.spec.preprocess.color_order == "bgr"
    layout = ct.colorlayout.BGR if bgr else ct.colorlayout.RGB
    image = ct.ImageType(name=lowered.input.name, shape=lowered.input.shape, color_layout=layout)
    dtype = np.int32 if lowered.output.role == "labels" else np.float32
    return ct.convert(
        lowered.program,
        convert_to="mlprogram",
        inputs=[image],
        outputs=[ct.TensorType(name=lowered.output.name, dtype=dtype)],
        # Around the int8 pairs of a quantized net the rest is fp16, as the Neural Engine computes it.
        compute_precision=ct.precision.FLOAT32 if exported.scheme.activations == "float32" else ct.precision.FLOAT16,
        minimum_deployment_target=ct.target.iOS17,
        skip_model_load=True,
    )


def _describe(model: Any, *, spec: ModelSpec, precision: str) -> None:
    model.author = "edgeseg"
    model.license = spec.licence
    model.version = VERSION
    model.short_description = f"{spec.name}: semantic segmentation into {len(spec.classes)} classes, {precision}."
    model.user_defined_metadata["classes"] = ",".join(spec.classes)
    model.user_defined_metadata["palette"] = ";".join(",".join(map(str, colour)) for colour in spec.palette)
    # Xcode's preview of segmentation models.
    colours = ["#{:02x}{:02x}{:02x}".format(*colour) for colour in spec.palette]
    model.user_defined_metadata["com.apple.coreml.model.preview.type"] = "imageSegmenter"
    model.user_defined_metadata["com.apple.coreml.model.preview.params"] = json.dumps(
        {"labels": list(spec.classes), "colors": colours}
    )
    model.user_defined_metadata["architecture"] = spec.architecture
    model.user_defined_metadata["weights_sha256"] = spec.weights_sha256
    if spec.notice:
        model.user_defined_metadata["notice"] = spec.notice
