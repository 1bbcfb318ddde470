"""What the vendors' own post-training quantizers share: input tensors, versions and silence.

They serve for comparison (`edgeseg convert --calibrator native`). Each is a `Converter`, registered by its format under
`edgeseg.native_converters`, whose int8 the vendor's quantizer makes of the float graph and its calibration images:
`reads` has "calibration", `check` names the extra that installs the quantizer, and the conversion's report names it as
`calibrator`, with its version.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from edgeseg.core.silence import native_output
from edgeseg.errors import ConversionError
from edgeseg.pixels import prepare

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from edgeseg.core.exported import ExportedModel

_log = logging.getLogger(__name__)


def calibration_tensors(exported: ExportedModel) -> Iterator[NDArray[Any]]:
    """Return the input tensors of an exported model's calibration images, one after another.

    Raises:
        ConversionError: it has no calibration images.
    """
    images = exported.calibration_images()
    if not len(images):
        raise ConversionError("A native calibrator needs calibration images, and this exported model has none.")
    rule = exported.preprocess
    step = -1 if rule.color_order == "rgb" else 1
    return (prepare(image[..., ::step], preprocess=rule, tensor=exported.input) for image in images)


def calibrator_version(distribution: str) -> str:
    """Return a quantizer's distribution with its version ("onnxruntime 1.24.1"), for the conversion's report."""
    return f"{distribution} {version(distribution)}"


@contextlib.contextmanager
def quiet_quantizer(name: str) -> Iterator[None]:
    """Send what a quantizer prints, logs and warns about to the log at DEBUG level.

    Raises:
        ConversionError: the quantizer fails; with its message. They raise many kinds of error for graphs that they do
            not know.
    """
    root, said = logging.getLogger(), io.StringIO()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            native_output(_log),
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(said),
        ):
            warnings.simplefilter("ignore")
            yield
    except Exception as error:
        raise ConversionError(f"{name} failed: {type(error).__name__}: {error}") from error
    finally:
        root.setLevel(level)
        if said.getvalue():
            _log.debug("%s: %s", name, said.getvalue().strip())
