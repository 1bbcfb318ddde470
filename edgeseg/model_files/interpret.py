"""A model file's tensors and its user's spec, brought together: what is passed in, and what comes out."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from edgeseg.core.file_io import FileIO, FileTensor
from edgeseg.core.spec import DType, Layout, Preprocess, TensorSpec
from edgeseg.core.suggestions import unknown
from edgeseg.errors import InputError, UnsupportedError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeseg.core.file_io import Values
    from edgeseg.core.spec_file import SpecFile
    from edgeseg.model_files.description import FileDescription, TensorInfo

_INTEGERS = ("uint8", "int8", "int32", "int64")
_FROM_LAST_OP: dict[str, Values] = {"argmax": "labels", "softmax": "probabilities", "sigmoid": "probabilities"}
_USUAL = ("NCHW", "NHWC", "NHW", "CHW", "HWC", "HW")
_TOLERANCE = 0.01
"""How far a probability of an 8-bit file may lie outside 0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileInput:
    """The input: the session's tensor, the file's own, and how an image becomes it."""

    tensor: TensorSpec
    stored: FileTensor
    preprocess: Preprocess

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.tensor.size


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOutput:
    """The output: the session's tensor, and the way to it from the file's own."""

    tensor: TensorSpec
    file: FileIO


def file_input(found: FileDescription, spec: SpecFile, *, size: tuple[int, int] | None) -> FileInput:
    """Return how an image is passed to a file, at its own size or, where it leaves the size open, at `size`.

    Bytes are passed as they are; `in_graph = false` in the spec normalises and quantizes them first. Floats, and
    quantized int8, are normalised as the spec says.

    Raises:
        UnsupportedError: several inputs, another number of channels than three, or a batch.
        InputError: a size, layout or colour order that the file contradicts.
    """
    info = _only_input(found)
    layout = _input_layout(found, info, spec)
    height, width = _size(found, info, layout, spec, size=size)
    sides = {"N": 1, "C": 3, "H": height, "W": width}
    stored = tuple(sides[axis] for axis in layout)
    preprocess = spec.preprocess
    in_graph = info.dtype == "uint8" and (preprocess.in_graph or info.scale is None)
    if info.dtype == "int8" and info.scale is None:
        raise UnsupportedError(f"{found.path}: input {info.text()} has no scale, so no image can be stored in it.")
    if info.color_order and info.color_order != preprocess.color_order:
        raise InputError(
            f'{found.path}: takes {info.color_order.upper()} images; the spec says color_order = "'
            f'{preprocess.color_order}". Correct the spec.'
        )
    session_layout: Layout = "NCHW" if layout.index("C") < layout.index("H") else "NHWC"
    assert info.dtype is not None
    return FileInput(
        tensor=TensorSpec(
            name="image",
            shape=tuple(sides[axis] for axis in session_layout),
            dtype=info.dtype,
            layout=session_layout,
            role="image",
            scale=info.scale,
            zero_point=info.zero_point,
        ),
        stored=FileTensor(
            position=info.position,
            name=info.name,
            shape=stored,
            dtype=info.dtype,
            scale=info.scale,
            zero_point=info.zero_point,
        ),
        preprocess=dataclasses.replace(preprocess, in_graph=in_graph),
    )


def choose_output(found: FileDescription, spec: SpecFile, *, name: str | None) -> TensorInfo:
    """Return the output that holds the segmentation: the one named, or the only one.

    Raises:
        UnknownName: no output of that name.
        InputError: several outputs and no name.
        UnsupportedError: an output of text or booleans.
    """
    wanted = name or spec.file.output
    if wanted:
        chosen = next((info for info in found.outputs if info.name == wanted), None)
        if chosen is None:
            raise unknown("output", wanted, [info.name for info in found.outputs])
    elif len(found.outputs) == 1:
        chosen = found.outputs[0]
    else:
        listed = "; ".join(info.text() for info in found.outputs)
        raise InputError(
            f"{found.path}: has {len(found.outputs)} outputs: {listed}. Name one as output in the spec's [file], or "
            "with --output of edgeseg adopt; the others are ignored."
        )
    if chosen.dtype is None:
        raise UnsupportedError(f"{found.path}: output {chosen.text()} holds neither numbers nor class ids.")
    return chosen


def file_output(info: TensorInfo, samples: NDArray[Any], spec: SpecFile, *, given: FileInput, where: str) -> FileOutput:
    """Return what an output holds, from its description, the spec and `samples`, its values for some images.

    `samples` are stacked along a new first axis. `where` is the file's name in messages.

    Raises:
        InputError: values, layout or number of channels that the spec contradicts or leaves open.
    """
    rules, classes = spec.file, spec.class_names
    if rules.ids and len(rules.ids) != len(classes):
        raise InputError(f"{where}: ids lists {len(rules.ids)} ids for {len(classes)} classes in the spec's [file].")
    values = _values(info, spec, where=where)
    shape = samples.shape[1:]
    layout = _output_layout(info, shape, spec, values=values, size=given.size, where=where)
    sizes = dict(zip(layout, shape, strict=True))
    one_channel = values != "labels" and sizes.get("C", 1) == 1
    dtype = cast("DType", samples.dtype.name if samples.dtype.name != "bool" else "uint8")
    stored = FileTensor(
        position=info.position, name=info.name, shape=shape, dtype=dtype, scale=info.scale, zero_point=info.zero_point
    )
    _check_values(samples, stored, spec, values=values, where=where)
    file = FileIO(
        input=given.stored,
        output=stored,
        layout=layout,
        values=values,
        one_channel=one_channel,
        ids=rules.ids,
        threshold=rules.threshold,
        unlisted=spec.ignore_index,
    )
    cells = (sizes["H"], sizes["W"])
    return FileOutput(tensor=_session_tensor(stored, file, cells=cells, classes=len(classes)), file=file)


def _only_input(found: FileDescription) -> TensorInfo:
    if len(found.inputs) != 1:
        listed = "; ".join(info.text() for info in found.inputs)
        raise UnsupportedError(f"{found.path}: takes {len(found.inputs)} inputs ({listed}); edgeseg passes one image.")
    info = found.inputs[0]
    if info.dtype not in ("uint8", "int8", "float16", "float32"):
        raise UnsupportedError(f"{found.path}: input {info.text()} cannot hold an image.")
    return info


def _input_layout(found: FileDescription, info: TensorInfo, spec: SpecFile) -> str:
    shape, asked = info.shape, spec.file.input_layout
    rank = len(shape) or len(asked) or 4
    known = [layout for layout in ("NCHW", "NHWC", "CHW", "HWC") if len(layout) == rank]
    if asked and asked not in known:
        raise InputError(f'{found.path}: input {info.text()} cannot have the layout "{asked}" of the spec\'s [file].')
    fitting = [
        layout for layout in known
        if not shape or (shape[layout.index("C")] in (3, None) and ("N" not in layout or shape[0] in (1, None)))
    ]  # fmt: skip
    if asked:
        fitting = [layout for layout in fitting if layout == asked]
    certain = [layout for layout in fitting if shape and shape[layout.index("C")] == 3]
    fitting = certain or fitting
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise InputError(
            f"{found.path}: the axes of input {info.text()} are not clear. Write input_layout = "
            f'"{fitting[0]}" in the spec\'s [file], or another order.'
        )
    raise UnsupportedError(f"{found.path}: input {info.text()} is not one image of three channels.")


def _size(
    found: FileDescription, info: TensorInfo, layout: str, spec: SpecFile, *, size: tuple[int, int] | None
) -> tuple[int, int]:
    own = tuple(info.shape[layout.index(axis)] if info.shape else None for axis in "HW")
    wanted = size or spec.size
    for fixed, side in zip(own, wanted, strict=True):
        if fixed is not None and fixed != side:
            shown = "x".join("?" if one is None else str(one) for one in own)
            source = "--size" if size else "the spec"
            raise InputError(
                f"{found.path}: takes {shown} (height x width), fixed in the file; {source} says "
                f"{wanted[0]}x{wanted[1]}. Use the file's own size."
            )
    return wanted


def _values(info: TensorInfo, spec: SpecFile, *, where: str) -> Values:
    said = spec.file.values
    ends = _FROM_LAST_OP.get(info.last_op)
    if said and ends and said != ends:
        raise InputError(
            f'{where}: output "{info.name}" ends with {info.last_op}, so it holds {ends}; the spec says values = '
            f'"{said}". Correct the spec\'s [file].'
        )
    if said:
        return said
    if ends:
        return ends
    return "labels" if info.dtype in _INTEGERS and info.scale is None else "logits"


def _output_layout(
    info: TensorInfo,
    shape: tuple[int, ...],
    spec: SpecFile,
    *,
    values: Values,
    size: tuple[int, int],
    where: str,
) -> str:
    said, count = spec.file.layout, len(spec.class_names)
    if said and len(said) != len(shape):
        raise InputError(f'{where}: output "{info.name}" has the shape {shape}; layout = "{said}" does not fit it.')
    layouts = [said] if said else [layout for layout in _USUAL if len(layout) == len(shape)]
    named = {layout: dict(zip(layout, shape, strict=True)) for layout in layouts}
    fitting = [
        layout
        for layout, sizes in named.items()
        if _fits(sizes, values=values, ids=spec.file.ids, classes=count, size=size)
    ]
    exact = [layout for layout in fitting if named[layout]["H"] * size[1] == named[layout]["W"] * size[0]]
    fitting = exact or fitting
    # Axes of size 1 may be called batch or channel: nothing depends on it.
    if len({(layout.index("H"), layout.index("W")) for layout in fitting}) == 1:
        return fitting[0]
    if fitting:
        raise InputError(
            f'{where}: output "{info.name}" has the shape {shape}, whose axes are not clear ({", ".join(fitting)}). '
            f'Write layout = "{fitting[0]}" in the spec\'s [file], or another order.'
        )
    need = (
        "one value per pixel" if values == "labels" else f"{count} channels{', or one for two classes' * (count == 2)}"
    )
    raise InputError(
        f'{where}: output "{info.name}" has the shape {shape}, and is read as {values}; {count} classes need {need} '
        f"at the proportions of {size[0]}x{size[1]}. Correct the spec's classes, or its [file] (ids, values, layout)."
    )


def _fits(sizes: dict[str, int], *, values: Values, ids: tuple[int, ...], classes: int, size: tuple[int, int]) -> bool:
    channels, height, width = sizes.get("C", 1), sizes["H"], sizes["W"]
    if sizes.get("N", 1) != 1 or abs(height * size[1] - width * size[0]) > max(size):
        return False
    if values == "labels":
        return channels == 1
    if channels == 1:
        return classes == 2 and not ids
    return max(ids) < channels if ids else channels == classes


def _check_values(samples: NDArray[Any], stored: FileTensor, spec: SpecFile, *, values: Values, where: str) -> None:
    real = samples.astype(np.float64)
    if not np.isfinite(real).all():
        raise InputError(f'{where}: output "{stored.name}" holds NaN or infinity. Check the preprocessing in the spec.')
    if stored.scale is not None:
        real = (real - (stored.zero_point or 0)) * stored.scale
    low, high = float(real.min()), float(real.max())
    if values == "probabilities" and not (low >= -_TOLERANCE and high <= 1 + _TOLERANCE):
        raise InputError(
            f'{where}: output "{stored.name}" holds values from {low:.4g} to {high:.4g}, which are no probabilities. '
            'Write values = "logits" in the spec\'s [file].'
        )
    if values != "labels":
        return
    if not np.array_equal(real, np.rint(real)):
        raise InputError(f'{where}: output "{stored.name}" holds fractions, which are no class ids. Correct values.')
    if not spec.file.ids and (high >= len(spec.class_names) or low < 0):
        raise InputError(
            f'{where}: output "{stored.name}" holds the class id {int(high if low >= 0 else low)}; the spec has '
            f"{len(spec.class_names)} classes, from 0. List each class's id in the file as ids in the spec's [file]."
        )


def _session_tensor(stored: FileTensor, file: FileIO, *, cells: tuple[int, int], classes: int) -> TensorSpec:
    if file.values == "labels":
        return TensorSpec(name="labels", shape=(1, *cells), dtype="int32", layout="NHW", role="labels")
    planar = not file.one_channel and file.layout in ("NCHW", "CHW")
    return TensorSpec(
        name="logits",
        shape=(1, classes, *cells) if planar else (1, *cells, classes),
        dtype="float32" if file.one_channel else stored.dtype,
        layout="NCHW" if planar else "NHWC",
        role="logits",
        scale=None if file.one_channel else stored.scale,
        zero_point=None if file.one_channel else stored.zero_point,
        values=file.values,
    )
