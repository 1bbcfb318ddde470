"""This machine's own peak arithmetic rate, measured: the roof that an engine's rate is compared with.

`python -m edgeseg.bench.peak PRECISION THREADS` prints the rate and the library as JSON, in a process of its own: some
libraries read their number of threads from the environment, once.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeseg.core.records import decode_record
from edgeseg.core.timing_method import Roofline
from edgeseg.errors import EdgesegError

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeseg.core.measurement import Measurement

_SIDE = 512
_LEAST_S = 0.5
_TIMEOUT_S = 120.0
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS",
                     "VECLIB_MAXIMUM_THREADS")  # fmt: skip
_AS_FLOAT = ("", "f32", "fp32", "float32", "fp16")
"""Precisions that are computed in float32; an fp16 artifact has only its weights in fp16, unless the engine says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """The best rate of a matrix product of 512 x 512 in 10^9 operations per second, and the library that did it."""

    gops: float
    library: str


def measure_peak(precision: str, *, threads: int) -> Peak | None:
    """Return this machine's peak in "fp32" or "int8" with `threads` threads; None if nothing here can measure it."""
    environment = {**os.environ, **dict.fromkeys(_THREAD_VARIABLES, str(threads))}
    command = [sys.executable, "-m", "edgeseg.bench.peak", precision, str(threads)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True, env=environment)
        return decode_record(Peak, json.loads(done.stdout.splitlines()[-1]), where="peak")
    except (OSError, subprocess.SubprocessError, ValueError, IndexError, EdgesegError):
        return None


def computed_in(measurement: Measurement) -> str | None:
    """Return the precision that inference computes in, "fp32" or "int8"; None for others, which have no peak here."""
    if measurement.precision == "int8":
        return "int8"
    said = measurement.inference_precision.lower()
    return "fp32" if said in _AS_FLOAT and measurement.precision in _AS_FLOAT else None


def roofline(measurement: Measurement, *, macs: int | None, peak: Peak | None) -> Roofline | None:
    """Return the arithmetic rate of `measurement` against `peak`; None if a part is unknown."""
    infer, precision = measurement.stage("infer"), computed_in(measurement)
    if infer is None or not infer.p50_ms or macs is None or peak is None or precision is None:
        return None
    gops = 2 * macs / infer.p50_ms / 1e6
    return Roofline(
        precision=precision,
        macs=macs,
        gops=round(gops, 3),
        peak_gops=peak.gops,
        fraction=round(gops / peak.gops, 4),
        peak_of=peak.library,
    )


def main(arguments: list[str]) -> int:
    """Measure the peak in a precision and print a `Peak` as JSON; return 1 if no library here can."""
    precision, threads = arguments[0], int(arguments[1])
    product = _float_product() if precision == "fp32" else _int8_product(threads)
    if product is None:
        return 1
    run, library = product
    print(json.dumps({"gops": round(2 * _SIDE**3 / _best_s(run) / 1e9, 2), "library": library}))
    return 0


def _best_s(run: Callable[[], object]) -> float:
    run()
    best, end = float("inf"), time.perf_counter() + _LEAST_S
    while time.perf_counter() < end:
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best


def _float_product() -> tuple[Callable[[], object], str]:
    import numpy as np

    one = np.random.default_rng(0).random((_SIDE, _SIDE), np.float32)
    out = np.empty_like(one)
    return (lambda: np.matmul(one, one, out=out)), f"numpy {np.__version__} (sgemm)"


def _int8_product(threads: int) -> tuple[Callable[[], object], str] | None:
    try:
        import onnxruntime
    except ImportError:
        return None
    import numpy as np

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(_matmul_integer(), options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    feeds = {"a": rng.integers(0, 256, (_SIDE, _SIDE), np.uint8)}
    return (lambda: session.run(None, feeds)), f"ONNX Runtime {onnxruntime.__version__} (MatMulInteger, u8 x s8)"


def _matmul_integer() -> bytes:
    """Return an ONNX model c = MatMulInteger(a, b), a uint8 and b a constant int8, as protobuf.

    Written by hand (onnx.proto3 gives the field numbers), because a device has ONNX Runtime but not onnx.
    """
    import numpy as np

    weights = np.random.default_rng(1).integers(-127, 128, (_SIDE, _SIDE), np.int8).tobytes()
    node = _text(1, "a") + _text(1, "b") + _text(2, "c") + _text(4, "MatMulInteger")
    constant = _number(1, _SIDE) + _number(1, _SIDE) + _number(2, 3) + _text(8, "b") + _field(9, weights)
    graph = (
        _field(1, node)
        + _text(2, "peak")
        + _field(5, constant)
        + _field(11, _value("a", 2))
        + _field(12, _value("c", 6))
    )
    return _number(1, 8) + _field(7, graph) + _field(8, _number(2, 13))


def _value(name: str, kind: int) -> bytes:
    side = _field(1, _number(1, _SIDE))
    tensor = _number(1, kind) + _field(2, side + side)
    return _text(1, name) + _field(2, _field(1, tensor))


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out) + struct.pack("B", number)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _field(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _text(field: int, text: str) -> bytes:
    return _field(field, text.encode())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
