"""Latency of a net's layers and of the whole net on an engine of this machine."""

from __future__ import annotations

import dataclasses
import platform
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgeseg.analyze.single_layer_models import LayerFiles
from edgeseg.bench.layer_timing import time_layer, timing_engine
from edgeseg.core.cpu_features import cpu_fields
from edgeseg.core.files import read_json, write_json
from edgeseg.core.latency import LatencyTable, LayerShape, LayerTime
from edgeseg.errors import InputError

if TYPE_CHECKING:
    from edgeseg.core.progress import Progress
    from edgeseg.models import Checkpoint


def latency_table(
    checkpoint: Checkpoint,
    *,
    engine: str,
    threads: int = 1,
    shares: tuple[float, ...] = (1.0, 0.5, 0.25),
    runs: int = 30,
    cache: Path | None = None,
    on_progress: Progress | None = None,
) -> LatencyTable:
    """Return the times of all layers of a checkpoint's net on an engine, at every combination of width `shares`.

    Identical layers are timed once. With `cache`, a JSON file, times are reused and new ones added, so that an
    interrupted table can be resumed.

    Raises:
        UnknownName: an engine for which layers cannot be timed.
        InputError: a cache of another engine, thread count or machine.
        MissingDependency: the engine, or what writes its files, is not installed.
    """
    from edgeseg.graph.layer_shapes import layer_shapes

    table = _start(cache, engine=engine, threads=threads)
    known = {item.shape for item in table.times}
    wanted = _grid(layer_shapes(checkpoint.net, size=checkpoint.spec.size), shares)
    missing = [shape for shape in wanted if shape not in known]
    with tempfile.TemporaryDirectory(prefix="edgeseg-") as folder:
        files = LayerFiles(Path(folder), file_format=timing_engine(engine).layer_format)
        for index, shape in enumerate(missing):
            path, image = files.write(shape)
            ms = time_layer(path, engine=engine, threads=threads, image=image, runs=runs)
            table = dataclasses.replace(table, times=(*table.times, LayerTime(shape=shape, ms=round(ms, 5))))
            if cache is not None and (index % 20 == 19 or index + 1 == len(missing)):
                write_json(table, cache)
            if on_progress is not None:
                on_progress("layers", index + 1, len(missing))
    return table


def time_net(checkpoint: Checkpoint, *, engine: str, threads: int = 1, runs: int = 50) -> float:
    """Return the median milliseconds of one inference of a checkpoint's fp32 artifact on an engine.

    The artifact is a real one, converted and proven in a temporary folder.

    Raises:
        GateError: the artifact does not agree with the net.
        UnknownName, MissingDependency: an engine or converter that cannot be used here.
    """
    from edgeseg.deploy.conversion_request import ConversionRequest
    from edgeseg.deploy.convert import convert_for_targets
    from edgeseg.export.golden import golden_image
    from edgeseg.models import save_checkpoint
    from edgeseg.runtime import load

    target = _format(engine)
    with tempfile.TemporaryDirectory(prefix="edgeseg-") as text:
        # The net may have just been pruned and not be saved yet.
        save_checkpoint(Path(text) / "checkpoint", net=checkpoint.net, spec=checkpoint.spec)
        out = Path(text) / "artifact"
        request = ConversionRequest(target=target, precision="fp32", out=out)
        convert_for_targets(Path(text) / "checkpoint", request)
        image, times = golden_image(checkpoint.spec)[None], []
        with load(out, engine=engine, threads=threads, trusted=True) as session:
            for _ in range(runs + 5):
                start = time.perf_counter_ns()
                session.infer(image)
                times.append((time.perf_counter_ns() - start) / 1e6)
    return float(np.median(times[5:]))


def _grid(shapes: dict[str, LayerShape], shares: tuple[float, ...]) -> list[LayerShape]:
    found: dict[LayerShape, None] = {}
    for shape in shapes.values():
        for inputs in sorted({max(1, round(shape.inputs * share)) for share in shares}, reverse=True):
            if shape.is_depthwise:
                found[dataclasses.replace(shape, inputs=inputs, outputs=inputs, groups=inputs)] = None
                continue
            for outputs in sorted({max(1, round(shape.outputs * share)) for share in shares}, reverse=True):
                found[dataclasses.replace(shape, inputs=inputs, outputs=outputs)] = None
    return list(found)


def _start(cache: Path | None, *, engine: str, threads: int) -> LatencyTable:
    _format(engine)
    fresh = LatencyTable(engine=engine, threads=threads, machine=_machine(), times=())
    if cache is None or not cache.is_file():
        return fresh
    found = read_json(LatencyTable, cache)
    if (found.engine, found.threads, found.machine) != (fresh.engine, fresh.threads, fresh.machine):
        raise InputError(
            f"{cache}: holds times of {found.engine} on {found.threads} threads of {found.machine}; requested: "
            f"{engine}, {threads}, {fresh.machine}. Give another file."
        )
    return found


def _format(engine: str) -> str:
    return timing_engine(engine).formats[0]


def _machine() -> str:
    """Return the processor's name, as the system gives it."""
    return cpu_fields().get("model name") or platform.processor() or platform.machine()
