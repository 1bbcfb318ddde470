"""MIL's constants as numpy arrays and strings."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeseg.errors import UnsupportedError
from edgeseg.runtime.engines.mil.package import Package, read_blob

Value = np.ndarray | str

# DataType of coremltools' MIL.proto. Halves and bfloat16 aside, numpy has the same types.
_DTYPES = {
    1: "bool",
    10: "float16",
    11: "float32",
    12: "float64",
    21: "int8",
    22: "int16",
    23: "int32",
    24: "int64",
    31: "uint8",
    32: "uint16",
    33: "uint32",
    34: "uint64",
}
STRING = 2
FLOAT16 = 10


def decode_value(value: Any, *, package: Package) -> Value:
    """Return a constant of the program; halves come as float32 of the same value, scalars as arrays of no dimension.

    Raises:
        UnsupportedError: a type that is not known here.
        ArtifactError: the weight file does not hold it.
    """
    tensor = value.type.tensorType
    if value.WhichOneof("value") == "blobFileValue":
        return _widen(_from_blob(value.blobFileValue, _dtype(tensor), package=package).reshape(_shape(tensor)))
    kind = value.immediateValue.tensor.WhichOneof("value")
    held = getattr(value.immediateValue.tensor, kind).values
    if tensor.dataType == STRING:
        return str(held[0])
    flat = np.frombuffer(held, _dtype(tensor)) if kind == "bytes" else np.array(list(held), _dtype(tensor))
    return _widen(flat.reshape(_shape(tensor)))


def is_half(named_type: Any) -> bool:
    """Return whether an op's output is stored in half precision."""
    return bool(named_type.type.tensorType.dataType == FLOAT16)


def _from_blob(blob: Any, dtype: str, *, package: Package) -> np.ndarray:
    path = package.folder / blob.fileName.replace("@model_path/", "")
    return np.frombuffer(read_blob(path, offset=blob.offset), dtype)


def _widen(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.dtype == np.float16 else array


def _shape(tensor: Any) -> tuple[int, ...]:
    return tuple(dimension.constant.size for dimension in tensor.dimensions)


def _dtype(tensor: Any) -> str:
    if tensor.dataType not in _DTYPES:
        raise UnsupportedError(f"MIL data type {tensor.dataType} is not known to the reference evaluator.")
    return _DTYPES[tensor.dataType]
