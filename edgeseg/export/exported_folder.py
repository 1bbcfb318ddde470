"""The files of an exported model: small ones are written at once, programs and calibration images on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeseg.core.exported import GOLDEN_IMAGE, GOLDEN_OUTPUT
from edgeseg.core.files import write_json
from edgeseg.core.quantization import RANGES_FILE
from edgeseg.errors import ConversionError
from edgeseg.export.golden import float_answer, golden_image
from edgeseg.export.onnx_file import write_onnx
from edgeseg.pixels import fit, prepare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    from edgeseg.core.exported import ExportedModel
    from edgeseg.core.quantization import Ranges
    from edgeseg.export.head import Deployed

MOST_IMAGES = 256
MOST_FOLDER_BYTES = 256 << 20
"""Calibration images in the folder; more do not improve a vendor's ranges."""


def write_folder(
    exported: ExportedModel,
    deployed: Deployed,
    *,
    ranges: Ranges | None,
    calibration: Callable[[], Iterable[NDArray[np.uint8]]] | None,
) -> None:
    """Write description, ranges and golden sample, and register how the slow parts are written.

    `deployed` is the float module behind the exported program.
    """
    exported.folder.mkdir(parents=True, exist_ok=True)
    exported.describe()
    if ranges is not None:
        write_json(ranges, exported.folder / RANGES_FILE)
    image = golden_image(exported.spec)
    _write_png(exported.folder / GOLDEN_IMAGE, image)
    tensor = prepare(image, preprocess=exported.preprocess, tensor=exported.input)
    np.save(exported.folder / GOLDEN_OUTPUT, float_answer(deployed, tensor), allow_pickle=False)
    program, folded = exported.program(), exported.folded_program()
    exported.writers["program"] = lambda path: _write_program(program, path)
    if folded is not program:
        exported.writers["folded"] = lambda path: _write_program(folded, path)
    exported.writers["onnx"] = lambda path: write_onnx(folded, path, image=exported.input, answer=exported.output)
    if calibration is not None:
        exported.writers["calibration"] = lambda path: _write_images(calibration(), path, exported=exported)


def _write_program(program: object, path: Path) -> None:
    import torch
    from torch.export import ExportedProgram

    assert isinstance(program, ExportedProgram)
    torch.export.save(program, path)


def _write_images(images: Iterable[NDArray[np.uint8]], path: Path, *, exported: ExportedModel) -> None:
    size = exported.spec.size
    most = max(1, min(MOST_IMAGES, MOST_FOLDER_BYTES // (3 * size[0] * size[1])))
    fitted = [
        fit(image, preprocess=exported.preprocess, size=size) for _, image in zip(range(most), images, strict=False)
    ]
    np.savez(path, images=np.stack(fitted))


def _write_png(path: Path, image: NDArray[np.uint8]) -> None:
    import cv2

    done, data = cv2.imencode(".png", image)
    if not done:
        raise ConversionError(f"{path.name}: OpenCV cannot write a PNG of {image.shape} {image.dtype}.")
    path.write_bytes(data.tobytes())
