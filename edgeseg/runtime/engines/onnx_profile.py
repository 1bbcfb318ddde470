"""Sessions of ONNX Runtime that say what each node did, in which provider and how long it took."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    import onnxruntime

ONLY_FATAL = 4
"""What ONNX Runtime logs as an error, it also raises."""
_SUFFIX = "_kernel_time"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRun:
    """One run of a node: its name, its op, the execution provider and the milliseconds that it took."""

    node: str
    op: str
    provider: str
    ms: float


def session_options(*, threads: int) -> onnxruntime.SessionOptions:
    """Return the options of every session here: one operator at a time, on so many threads."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = ONLY_FATAL
    return options


def profiled_runs(
    opened: Callable[[onnxruntime.SessionOptions], onnxruntime.InferenceSession],
    options: onnxruntime.SessionOptions,
    *,
    image: Any,
    runs: int = 1,
) -> list[NodeRun]:
    """Return the node runs of `runs` inferences of an input tensor, in order; raises whatever ONNX Runtime raises."""
    options.enable_profiling = True
    with tempfile.TemporaryDirectory(prefix="edgeseg-") as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = opened(options)
        name = session.get_inputs()[0].name
        for _ in range(runs):
            session.run(None, {name: image})
        return list(node_runs(json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))))


def node_runs(events: Iterable[Mapping[str, Any]]) -> Iterator[NodeRun]:
    """Yield the node runs among the events of a profile."""
    for event in events:
        name, details = event.get("name"), event.get("args")
        ran = event.get("cat") == "Node" and isinstance(name, str) and name.endswith(_SUFFIX)
        if ran and isinstance(details, dict):
            yield NodeRun(
                node=str(name).removesuffix(_SUFFIX),
                op=str(details.get("op_name", "")),
                provider=str(details.get("provider", "")),
                ms=float(event.get("dur", 0.0)) / 1e3,
            )
