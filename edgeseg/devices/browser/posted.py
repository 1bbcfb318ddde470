"""What a page posts: one message of parts, the first one JSON, read strictly and checked for contradictions.

The parts are, each behind its length (4 bytes, big-endian): the JSON of a `PostedRun`; the raw output of each golden
sample, as the model's output tensor in little-endian bytes; if runs were timed, their times as uint32 multiples of
100 ns, preprocess, infer and decode of one run after the other; if they were on a camera, the age of each frame, alike.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from edgeseg.bench.samples import STAGES, TICK_MS, summarise
from edgeseg.core.parsing import parse_json
from edgeseg.core.records import bounds, decode_record
from edgeseg.errors import RecipeError, printable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeseg.core.artifact import Artifact

POSTED_SCHEMA = 1
MOST_RUNS = 100_000
_MOST_PARTS = 64
_LONGEST_NAME = 80
_TOLERANCE_MS = 2e-3
"""The page computes its percentiles in floating point from the same ticks."""
_CLOCK_SLACK_MS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PostedDevice:
    """The device as its owner named it, and what its browser says of it; "" where the browser does not say."""

    name: str
    browser: str = ""
    system: str = ""
    architecture: str = ""
    cores: int = field(metadata=bounds(low=1, high=4096))

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise ValueError("name is empty: give this device a name.")
        for name in ("name", "browser", "system", "architecture"):
            text = getattr(self, name)
            if len(text) > _LONGEST_NAME or printable(text) != text:
                raise ValueError(f"{name} is longer than {_LONGEST_NAME} characters, or holds control characters.")


@dataclass(frozen=True, slots=True, kw_only=True)
class PostedTiming:
    """Timed runs: how many, after which warm-up, on which images, how long all of it took, and the page's figures.

    `percentiles` holds p50, p90 and p99 (None for fewer than 200 runs) of each stage in milliseconds. `clock_ms` is
    the step of the browser's clock. A frame's age counts from its capture, or where the browser does not tell that,
    from when it was first shown (`age_from`).
    """

    runs: int = field(metadata=bounds(low=1, high=MOST_RUNS))
    warmup: int = field(metadata=bounds(low=0, high=MOST_RUNS))
    settled: bool
    elapsed_ms: float = field(metadata=bounds(low=0))
    clock_ms: float = field(metadata=bounds(low=0, high=1000))
    images: Literal["golden", "camera"]
    image_size: tuple[int, int] = field(metadata=bounds(low=1, high=65535))
    age_from: Literal["", "capture", "presentation"] = ""
    percentiles: dict[str, tuple[float, float, float | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PostedRun:
    """One artifact on one engine in one browser; `timing` is None where only the golden samples were run.

    `model_sha256` is the hash of the model that the page loaded, `inputs_sha256` those of the input tensors that it
    made of the golden images. `adapter` describes the GPU; a `software_adapter` is a CPU that imitates one.
    """

    schema: int
    artifact_sha256: str = field(metadata=bounds(items=(64, 64)))
    model_sha256: str = field(metadata=bounds(items=(64, 64)))
    device: PostedDevice
    engine: str
    accelerator: Literal["wasm", "webgpu"]
    threads: int = field(metadata=bounds(low=1, high=1024))
    adapter: str = ""
    software_adapter: bool = False
    inputs_sha256: tuple[str, ...]
    timing: PostedTiming | None = None

    def __post_init__(self) -> None:
        if self.schema != POSTED_SCHEMA:
            raise ValueError(f"schema {self.schema} is not known; this desk reads schema {POSTED_SCHEMA}. Reload.")
        if len(self.adapter) > _LONGEST_NAME or printable(self.adapter) != self.adapter:
            raise ValueError(f"adapter is longer than {_LONGEST_NAME} characters, or holds control characters.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticks:
    """The times of timed runs: (runs, 3) of preprocess, infer and decode, and (runs,) of frame ages, in 100 ns."""

    stages: NDArray[np.uint32]
    ages: NDArray[np.uint32] | None


def parts_of(message: bytes) -> list[bytes]:
    """Return the parts of a posted message; raises `RecipeError` where their lengths do not add up."""
    found: list[bytes] = []
    at = 0
    while at < len(message):
        if len(found) == _MOST_PARTS or at + 4 > len(message):
            raise RecipeError("The message is damaged: its parts do not add up.")
        (length,) = struct.unpack_from(">I", message, at)
        at += 4 + length
        if at > len(message):
            raise RecipeError("The message is damaged: its parts do not add up.")
        found.append(message[at - length : at])
    return found


def posted_run(part: bytes) -> PostedRun:
    """Return the run that the first part describes; raises `RecipeError`, naming the key, for anything else."""
    try:
        text = part.decode("utf-8")
    except ValueError:
        raise RecipeError("The posted record is not JSON.") from None
    return decode_record(PostedRun, parse_json(text, where="posted"), where="posted")


def outputs_in(parts: list[bytes], artifact: Artifact) -> list[NDArray[np.generic]]:
    """Return the raw outputs of the golden samples; raises `RecipeError` unless they are the model's output tensors."""
    tensor = artifact.manifest.outputs[0]
    kind = np.dtype(tensor.dtype).newbyteorder("<")
    size = math.prod(tensor.shape) * kind.itemsize
    if len(parts) != len(artifact.manifest.golden.samples) or any(len(part) != size for part in parts):
        raise RecipeError(
            f"outputs: expected {len(artifact.manifest.golden.samples)} tensors of {size} bytes ({tensor.dtype} "
            f"{tensor.shape}); got {', '.join(str(len(part)) for part in parts) or 'none'}."
        )
    outputs = [np.frombuffer(part, kind).reshape(tensor.shape) for part in parts]
    if any(output.dtype.kind == "f" and not np.isfinite(output).all() for output in outputs):
        raise RecipeError("outputs: hold NaN or infinity, which cannot be decoded to labels.")
    return outputs


def ticks_in(parts: list[bytes], timing: PostedTiming) -> Ticks:
    """Return the times of the runs, checked against each other and against what the page says of them.

    Raises:
        RecipeError: naming what contradicts what.
    """
    expected = 2 if timing.images == "camera" else 1
    if len(parts) != expected or any(len(part) % 4 for part in parts):
        raise RecipeError(f"timing: expected {expected} parts of 4-byte times; got {len(parts)}.")
    if len(parts[0]) != 12 * timing.runs or (expected == 2 and len(parts[1]) != 4 * timing.runs):
        raise RecipeError(f"timing.runs is {timing.runs}; the times are of another number of runs.")
    stages = np.frombuffer(parts[0], "<u4").reshape(timing.runs, 3)
    whole_ms = float(stages.sum(dtype=np.float64)) * TICK_MS
    if not stages[:, 1].any():
        raise RecipeError("timing: no run took any time.")
    if whole_ms > timing.elapsed_ms + _CLOCK_SLACK_MS:
        raise RecipeError(f"timing.elapsed_ms is {timing.elapsed_ms:.1f}; the runs alone take {whole_ms:.1f} ms.")
    ages = np.frombuffer(parts[1], "<u4") if expected == 2 else None
    ticks = Ticks(stages=stages, ages=ages)
    _check_percentiles(ticks, timing)
    return ticks


def _check_percentiles(ticks: Ticks, timing: PostedTiming) -> None:
    times_ms = ticks.stages.astype(np.float64) * TICK_MS
    columns = dict(zip(STAGES, (*times_ms.T, times_ms.sum(axis=1)), strict=True))
    if ticks.ages is not None:
        columns["frame_age"] = ticks.ages.astype(np.float64) * TICK_MS
    if set(timing.percentiles) != set(columns):
        raise RecipeError(f"timing.percentiles: expected the stages {', '.join(columns)}.")
    for stage, column in columns.items():
        found = summarise(stage, column)
        for name, ours, theirs in zip(
            ("p50", "p90", "p99"), (found.p50_ms, found.p90_ms, found.p99_ms), timing.percentiles[stage], strict=True
        ):
            if (ours is None) != (theirs is None) or (ours is not None and abs(ours - (theirs or 0)) > _TOLERANCE_MS):
                raise RecipeError(f"timing.percentiles.{stage}: {name} is {theirs}; the times give {ours}.")
