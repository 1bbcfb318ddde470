"""Quantization schemes, calibration sets and activation ranges."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from edgeseg.core.files import read_json
from edgeseg.core.input_statistics import InputStatistics
from edgeseg.core.suggestions import unknown
from edgeseg.errors import CheckpointError, RecipeError

if TYPE_CHECKING:
    from pathlib import Path

RANGES_FILE = "ranges.json"

Precision = str
"""The name of a quantization scheme such as "int8": one of `SCHEMES`, or a plug-in's own."""

_DTYPE = re.compile(r"(?P<kind>bfloat|float|uint|int)(?P<bits>\d+)\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizationScheme:
    """Bits, symmetry, granularity and mode of weights and activations.

    `weights` and `activations` begin with a type ("int8 symmetric per-channel", "float16"). `float_layers` names the
    ops or layers kept in float; the conversion's report says why.

    >>> SCHEMES["a16w8"].weight_bits, SCHEMES["a16w8"].activation_bits, SCHEMES["a16w8"].needs_ranges
    (8, 16, True)
    >>> SCHEMES["w8"].is_quantized, SCHEMES["w8"].needs_ranges
    (True, False)
    """

    name: Precision
    mode: Literal["none", "fp16", "bf16", "weight-only", "dynamic-range", "static-range", "qat"]
    weights: str
    activations: str
    io_dtype: str
    float_layers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for text in (self.weights, self.activations):
            if _DTYPE.match(text) is None:
                raise ValueError(f'{self.name}: "{text}" does not begin with a type such as int8 or float16.')

    @property
    def weight_bits(self) -> int:
        """Bits of one stored weight."""
        return _bits(self.weights)

    @property
    def activation_bits(self) -> int:
        """Bits of one activation."""
        return _bits(self.activations)

    @property
    def is_quantized(self) -> bool:
        """Whether weights are stored as integers."""
        return "int" in _kind(self.weights)

    @property
    def needs_ranges(self) -> bool:
        """Whether activations are integers too, with scales from observed or trained ranges."""
        return "int" in _kind(self.activations) and self.mode in ("static-range", "qat")

    @property
    def precision_bits(self) -> int:
        """Significant bits of the coarser of weights and activations: a float's significand, all bits of an integer."""
        return min(_significant(self.weights), _significant(self.activations))


def _kind(text: str) -> str:
    found = _DTYPE.match(text)
    assert found is not None
    return found["kind"]


def _bits(text: str) -> int:
    found = _DTYPE.match(text)
    assert found is not None
    return int(found["bits"])


def _significant(text: str) -> int:
    # IEEE 754 binary32 and binary16, and bfloat16, including the implicit bit.
    return {"float32": 24, "float16": 11, "bfloat16": 8}.get(text.split(maxsplit=1)[0], _bits(text))


FP32 = QuantizationScheme(name="fp32", mode="none", weights="float32", activations="float32", io_dtype="float32")
FP16 = QuantizationScheme(name="fp16", mode="fp16", weights="float16", activations="float16", io_dtype="float32")
BF16 = QuantizationScheme(name="bf16", mode="bf16", weights="bfloat16", activations="bfloat16", io_dtype="float32")
INT8 = QuantizationScheme(
    name="int8",
    mode="static-range",
    weights="int8 symmetric per-channel",
    activations="int8 affine per-tensor",
    io_dtype="float32",
)
A16W8 = QuantizationScheme(
    name="a16w8",
    mode="static-range",
    weights="int8 symmetric per-channel",
    activations="int16 symmetric per-tensor",
    io_dtype="float32",
)
W8 = QuantizationScheme(
    name="w8", mode="weight-only", weights="int8 symmetric per-channel", activations="float32", io_dtype="float32"
)
W4 = QuantizationScheme(
    name="w4", mode="weight-only", weights="int4 symmetric per-channel", activations="float32", io_dtype="float32"
)
SCHEMES = {scheme.name: scheme for scheme in (FP32, FP16, BF16, INT8, A16W8, W8, W4)}
"""The schemes that edgeseg defines; each converter lists those it supports."""
PRECISIONS: tuple[Precision, ...] = tuple(SCHEMES)

Calibrator = Literal["edgeseg", "native"]
"""Who makes int8: edgeseg, or for comparison the vendor's own post-training quantizer."""
CALIBRATORS: tuple[Calibrator, ...] = get_args(Calibrator)


def scheme_named(name: Precision) -> QuantizationScheme:
    """Return the scheme of a name; raises `UnknownName` with the nearest one."""
    if name not in SCHEMES:
        raise unknown("precision", name, SCHEMES)
    return SCHEMES[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationSet:
    """The unlabelled images that the ranges were observed on.

    `sha256` is the hash of the exact input tensors in order: equal hashes mean equal calibrations. `class_pixels`
    counts the pixels that the float model assigned to each class. `statistics` describe the images as they were read;
    older calibrations lack them.
    """

    source: str
    split: str
    item_ids: tuple[str, ...]
    selection: str
    seed: int
    class_pixels: tuple[int, ...]
    preprocess_sha256: str
    sha256: str
    licence: str = ""
    statistics: InputStatistics | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Lowest and highest value observed at one quantization point of the graph."""

    name: str
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranges:
    """Activation ranges of one model, by the names of the exported graph; a checkpoint may hold them as `ranges.json`.

    `float_layers` are the module paths that stay in float in quantized conversions, because 8 bits are too few there.
    With `mode` "qat" the ranges were trained with the weights, starting from `calibration`.
    """

    weights_sha256: str
    observer: str
    ranges: tuple[Range, ...]
    calibration: CalibrationSet
    float_layers: tuple[str, ...] = ()
    mode: Literal["static-range", "qat"] = "static-range"


def read_ranges(path: Path) -> Ranges:
    """Return the ranges in a file.

    Raises:
        CheckpointError: a file that does not follow the schema.
        InputError: no such file.
    """
    try:
        return read_json(Ranges, path)
    except RecipeError as error:
        raise CheckpointError(f"{path}: damaged: {error} Calibrate again with: edgeseg calibrate") from error
