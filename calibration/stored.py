"""Input tensors on disk: what is calibrated on may be larger than the memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class StoredTensors(Sequence["NDArray[Any]"]):
    """Tensors of one shape and type in a temporary file that is gone with the object; one is read at a time."""

    def __init__(self, tensors: Iterable[NDArray[Any]]) -> None:
        self._count = 0
        self._shape: tuple[int, ...] = ()
        self._dtype = np.dtype(np.uint8)
        with tempfile.TemporaryFile(prefix="edgeseg-calibration-") as file:
            for tensor in tensors:
                self._shape, self._dtype = tensor.shape, tensor.dtype
                file.write(np.ascontiguousarray(tensor).data)
                self._count += 1
            file.flush()
            # The map keeps the file's content after its name and handle are gone.
            self._map = (
                np.memmap(file, self._dtype, mode="r", shape=(self._count, *self._shape)) if self._count else None
            )

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> NDArray[Any]: ...

    @overload
    def __getitem__(self, index: slice) -> list[NDArray[Any]]: ...

    def __getitem__(self, index: int | slice) -> NDArray[Any] | list[NDArray[Any]]:
        """Return a copy of one tensor, or of several."""
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(self._count))]
        place = index + self._count if index < 0 else index
        if self._map is None or not 0 <= place < self._count:
            raise IndexError(index)
        return np.array(self._map[place])
