"""A spec.toml to start with, from what a model file says of itself."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from edgeseg.core.spec_file import GUESSED
from edgeseg.deploy.foreign.reading import describe_file
from edgeseg.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from edgeseg.model_files.description import FileDescription, TensorInfo

_MEAN, _STD = "[0.485, 0.456, 0.406]", "[0.229, 0.224, 0.225]"


def starter_spec(file: str | Path, *, size: tuple[int, int] | None = None) -> str:
    """Return the text of a spec.toml for a model file; what could not be read from the file is marked as guessed.

    `size` (height, width) is the input size of a file that leaves it open.

    Raises:
        InputError: the file has a fixed size, and `size` is another one.
        Others as `edgeseg.deploy.foreign.reading.describe_file`.
    """
    found = describe_file(file)
    source = found.inputs[0] if found.inputs else None
    target = found.outputs[0] if found.outputs else None
    lines = [
        "schema = 1",
        f"name = {json.dumps(found.path.stem)}",
        *_classes(target),
        *_size(source, wanted=size, path=found.path),
        f'licence = "not stated"  {GUESSED}',
        "",
        "[preprocess]",
        *_preprocess(source),
        "",
        "[file]",
        *_file(found),
    ]
    return "\n".join(lines) + "\n"


def _classes(info: TensorInfo | None) -> list[str]:
    if info is None or len(info.shape) < 3 or info.last_op == "argmax":
        return [f"classes = 2  {GUESSED}: their number or their names, in the file's order"]
    first, _, last = info.shape[-3:]
    # NCHW or NHWC: images are mostly larger than their number of classes.
    known = [side for side in (first, last) if side is not None]
    count = min(known) if known else None
    if count is None or count == 1:
        return [f'classes = ["background", "foreground"]  {GUESSED}']
    return [f"classes = {count}  # or their names, in the file's order"]


def _size(info: TensorInfo | None, *, wanted: tuple[int, int] | None, path: Path) -> list[str]:
    shape = info.shape if info is not None else ()
    sides = shape[-2:] if len(shape) >= 3 and shape[-1] != 3 else shape[-3:-1]
    if len(sides) == 2 and None not in sides:
        if wanted is not None and wanted != tuple(sides):
            raise InputError(
                f"{path}: its input is fixed to {sides[0]}x{sides[1]}, so {wanted[0]}x{wanted[1]} is not possible. "
                "Leave the size out, or export the file at that size."
            )
        return [f"size = [{sides[0]}, {sides[1]}]  # height, width: fixed in the file"]
    if wanted is not None:
        return [f"size = [{wanted[0]}, {wanted[1]}]  # height, width"]
    return [f"size = [512, 512]  {GUESSED}: height, width; the file leaves them open"]


def _preprocess(info: TensorInfo | None) -> list[str]:
    order = info.color_order if info is not None and info.color_order else ""
    color = f'color_order = "{order}"  # as the file says' if order else f'color_order = "rgb"  {GUESSED}'
    resize = f'resize = "stretch"  {GUESSED}'
    if info is not None and info.dtype == "uint8":
        return [color, resize, "# The input takes bytes, so pixels are passed as they are."]
    return [
        color,
        resize,
        f"scale = 0.00392156862745098  {GUESSED}: normalised = (pixel * scale - mean) / std",
        f"mean = {_MEAN}  {GUESSED}",
        f"std = {_STD}  {GUESSED}",
    ]


def _file(found: FileDescription) -> list[str]:
    lines = []
    if len(found.outputs) > 1:
        lines.append(f"output = {json.dumps(found.outputs[0].name)}  {GUESSED}; the others are ignored:")
        lines += [f"#   {info.text()}" for info in found.outputs[1:]]
    if found.outputs and found.outputs[0].last_op:
        ends = found.outputs[0].last_op
        kind = "labels" if ends == "argmax" else "probabilities"
        lines.append(f'values = "{kind}"  # the file ends with {ends}')
    lines += ["# ids = [1, 2, 3]      # each class's id or channel in the file, where it is not 0, 1, 2, ..."]
    lines += ["# threshold = 0.5      # of the second class, where the output has one channel"]
    return lines
