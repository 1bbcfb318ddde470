"""How numbers are stored: `QuantizationScheme`, and what was calibrated on: `CalibrationSet`, `Ranges`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from edgeseg.core.files import read_json
from edgeseg.core.input_statistics import InputStatistics
from edgeseg.errors import CheckpointError, RecipeError

if TYPE_CHECKING:
    from pathlib import Path

RANGES_FILE = "ranges.json"

Precision = Literal["fp32", "fp16", "int8"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizationScheme:
    """Bits, symmetry, granularity and mode; `float_layers` names the ops or layers kept in float,
    with reasons in the report.
    """

    name: Precision
    mode: Literal["none", "fp16", "weight-only", "dynamic-range", "static-range", "qat"]
    weights: str
    activations: str
    io_dtype: str
    float_layers: tuple[str, ...] = ()


FP32 = QuantizationScheme(name="fp32", mode="none", weights="float32", activations="float32", io_dtype="float32")
FP16 = QuantizationScheme(name="fp16", mode="fp16", weights="float16", activations="float16", io_dtype="float32")
INT8 = QuantizationScheme(
    name="int8",
    mode="static-range",
    weights="int8 symmetric per-channel",
    activations="int8 affine per-tensor",
    io_dtype="float32",
)
SCHEMES = {scheme.name: scheme for scheme in (FP32, FP16, INT8)}


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationSet:
    """Which unlabelled images the ranges were observed on.

    `sha256` is the hash of the exact input tensors in order, so that two calibrations can be told apart or proved
    equal;
    `class_pixels` counts what the float model saw in them, in the order of the classes. `statistics` are those of the
    images as they were read; the first calibrations did not keep them.
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
    """Lowest and highest value that an observer saw at one point of the graph."""

    name: str
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranges:
    """Activation ranges of one model, by the names of the exported graph; a checkpoint may carry them as `ranges.json`.

    `float_layers` are paths of modules that int8 conversions leave in float, where 8 bits are too few. With `mode`
    "qat" the ranges were trained together with the weights, and `calibration` is what they were observed on before.
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
