"""The few calls of CUDA's runtime that an engine needs, through ctypes: buffers, copies, a stream."""

from __future__ import annotations

import ctypes
import ctypes.util
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeseg.errors import ArtifactError, MissingDependency

if TYPE_CHECKING:
    from numpy.typing import NDArray

_RUNTIMES = ("libcudart.so", "libcudart.so.13", "libcudart.so.12", "libcudart.so.11.0")
_DRIVERS = ("libcuda.so.1",)
_TO_DEVICE, _TO_HOST = 1, 2
_NAME_BYTES = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedBuffer:
    """One tensor twice: `host` and `device` are addresses; the host's pages are pinned, so copies need no staging."""

    host: int
    device: int
    size_bytes: int

    def bytes(self) -> NDArray[np.uint8]:
        """Return the host's memory as bytes, not copied."""
        return np.ctypeslib.as_array((ctypes.c_uint8 * self.size_bytes).from_address(self.host))


class Cuda:
    """CUDA's runtime and driver libraries of this machine; every failed call is an `ArtifactError` with its words."""

    def __init__(self) -> None:
        self._runtime = load_library(_RUNTIMES)
        self._driver = load_library(_DRIVERS)

    def device_name(self) -> str:
        """Return the name of GPU 0, as trtexec prints it."""
        name = ctypes.create_string_buffer(_NAME_BYTES)
        for status in (self._driver.cuInit(0), self._driver.cuDeviceGetName(name, _NAME_BYTES, 0)):
            if status != 0:
                raise MissingDependency(f"CUDA finds no GPU here (status {status}).")
        return name.value.decode(errors="replace")

    def buffer(self, size_bytes: int) -> PinnedBuffer:
        """Return a new pair of buffers."""
        host, device = ctypes.c_void_p(), ctypes.c_void_p()
        self._checked(self._runtime.cudaHostAlloc(ctypes.byref(host), ctypes.c_size_t(size_bytes), 0))
        try:
            self._checked(self._runtime.cudaMalloc(ctypes.byref(device), ctypes.c_size_t(size_bytes)))
        except ArtifactError:
            self._runtime.cudaFreeHost(host)
            raise
        return PinnedBuffer(host=host.value or 0, device=device.value or 0, size_bytes=size_bytes)

    def free(self, buffer: PinnedBuffer) -> None:
        """Free both."""
        self._runtime.cudaFreeHost(ctypes.c_void_p(buffer.host))
        self._runtime.cudaFree(ctypes.c_void_p(buffer.device))

    def stream(self) -> int:
        """Return a new stream."""
        made = ctypes.c_void_p()
        self._checked(self._runtime.cudaStreamCreate(ctypes.byref(made)))
        return made.value or 0

    def free_stream(self, stream: int) -> None:
        """Free a stream."""
        self._runtime.cudaStreamDestroy(ctypes.c_void_p(stream))

    def to_device(self, buffer: PinnedBuffer, stream: int) -> None:
        """Copy a buffer to the GPU, in order with the stream."""
        self._copy(buffer.device, buffer.host, buffer.size_bytes, _TO_DEVICE, stream)

    def to_host(self, buffer: PinnedBuffer, stream: int) -> None:
        """Copy a buffer from the GPU, in order with the stream."""
        self._copy(buffer.host, buffer.device, buffer.size_bytes, _TO_HOST, stream)

    def wait(self, stream: int) -> None:
        """Return when the stream has done all."""
        self._checked(self._runtime.cudaStreamSynchronize(ctypes.c_void_p(stream)))

    def _copy(self, target: int, source: int, size_bytes: int, kind: int, stream: int) -> None:
        self._checked(
            self._runtime.cudaMemcpyAsync(
                ctypes.c_void_p(target), ctypes.c_void_p(source), ctypes.c_size_t(size_bytes), kind,
                ctypes.c_void_p(stream),
            )
        )  # fmt: skip

    @staticmethod
    def _checked(status: int) -> None:
        if status != 0:
            raise ArtifactError(f"CUDA failed with status {status} (cudaError_t).")


def load_library(names: tuple[str, ...]) -> Any:
    """Return the first library that loads; raises `MissingDependency` if none does."""
    for name in names:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise MissingDependency(f"{names[0]} is not here: a TensorRT engine runs on a machine with an NVIDIA GPU and CUDA.")


def cuda_fault() -> str:
    """Return why CUDA cannot be used here, empty if it can."""
    try:
        Cuda().device_name()
    except MissingDependency as error:
        return str(error)
    return ""
