"""Constants of MLIR text: numbers in brackets, bytes in hexadecimal, or a named resource; as numpy arrays."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeseg.errors import ArtifactError, UnsupportedError
from edgeseg.runtime.engines.coreai.mlir_text import tensor_types

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from edgeseg.runtime.engines.coreai.mlir_text import CoreAIOp

ELEMENTS = {
    "f16": "float16", "f32": "float32", "f64": "float64", "i1": "bool", "si8": "int8", "si16": "int16",
    "si32": "int32", "si64": "int64", "ui8": "uint8", "ui16": "uint16", "ui32": "uint32", "ui64": "uint64",
}  # fmt: skip
"""numpy's name of each element type."""
_VALUE = re.compile(r"value = dense(?P<resource>_resource)?<(?P<content>.*)> : (?P<type>tensor<[^>]*>)")
_NUMBER = re.compile(r"true|false|0x[0-9A-Fa-f]+|-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")


def element_dtype(element: str) -> str:
    """Return numpy's name of an element type; raises `UnsupportedError` for one that numpy lacks."""
    if element not in ELEMENTS:
        raise UnsupportedError(f"The reference evaluator does not know Core AI's element type {element}.")
    return ELEMENTS[element]


def decode_constant(op: CoreAIOp, resources: Mapping[str, bytes]) -> NDArray[Any]:
    """Return the value of a constant; halves come as float32 of the same value.

    Raises:
        UnsupportedError: an element type that is not known here.
        ArtifactError: bytes that are missing or do not fit the type.
    """
    found = _VALUE.search(op.attributes)
    if found is None:
        raise UnsupportedError(f"Line {op.line} of the Core AI program: a constant of an unknown form.")
    kind = tensor_types(found["type"])[0]
    dtype = np.dtype(element_dtype(kind.element))
    content, shape = found["content"], tuple(side or 0 for side in kind.shape)
    if found["resource"] and content not in resources:
        raise ArtifactError(f"Line {op.line} of the Core AI program: the constant {content} is missing.")
    if found["resource"]:
        array = np.frombuffer(resources[content], dtype)
    elif content.startswith('"'):
        array = np.frombuffer(bytes.fromhex(content.strip('"')[2:]), dtype)
    else:
        array = np.array([_number(text, dtype) for text in _NUMBER.findall(content)], dtype)
    if array.size == 1:
        array = np.broadcast_to(array.reshape(()), shape)
    if array.size != np.prod(shape, dtype=int):
        raise ArtifactError(f"Line {op.line} of the Core AI program: {array.size} numbers, not {shape}.")
    array = array.reshape(shape)
    return array.astype(np.float32) if dtype == np.float16 else array


def _number(text: str, dtype: np.dtype[Any]) -> Any:
    if text in ("true", "false"):
        return text == "true"
    if text.startswith("0x"):  # what has no decimal form, such as infinity
        return np.frombuffer(int(text, 16).to_bytes(dtype.itemsize, "little"), dtype)[0]
    return float(text) if dtype.kind == "f" else int(text)
