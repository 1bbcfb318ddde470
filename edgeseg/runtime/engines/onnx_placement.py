"""Which of ONNX Runtime's execution providers ran each node, from its profile of one run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeseg.core.placement import CPU, OpPlacement
from edgeseg.errors import ArtifactError
from edgeseg.runtime.engines.onnx_profile import NodeRun, profiled_runs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import onnxruntime

    from edgeseg.core.artifact import Artifact

_COPIES = frozenset({"MemcpyFromHost", "MemcpyToHost"})
"""Copies between the CPU's memory and the GPU's, which ONNX Runtime adds: they compute nothing."""


def placements_of_run(
    opened: Callable[[onnxruntime.SessionOptions], onnxruntime.InferenceSession],
    options: onnxruntime.SessionOptions,
    *,
    artifact: Artifact,
    units: Mapping[str, str],
) -> tuple[OpPlacement, ...]:
    """Return where each node ran for one input of zeros; `opened` opens the artifact with session options.

    `units` says which unit a provider stands for; every other one is the CPU, with the provider as the reason.

    Raises:
        ArtifactError: ONNX Runtime does not open or run the file.
        Others as `opened`.
    """
    tensor = artifact.manifest.inputs[0]
    try:
        runs = profiled_runs(opened, options, image=np.zeros(tensor.shape, tensor.dtype))
    except (OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ArtifactError(f"{artifact.entry}: ONNX Runtime cannot profile it: {reason[:300]}") from None
    return placements_of_nodes(runs, units=units)


def placements_of_nodes(runs: Iterable[NodeRun], *, units: Mapping[str, str]) -> tuple[OpPlacement, ...]:
    """Return where the nodes of a profile ran, in the order in which they did, each once."""
    found: dict[str, OpPlacement] = {}
    for run in runs:
        if run.op in _COPIES:
            continue
        unit = units.get(run.provider, CPU)
        reason = "" if unit != CPU else f"ran in {run.provider or 'an unnamed provider'}"
        found[run.node] = OpPlacement(op=run.op, node=run.node, unit=unit, reason=reason)
    return tuple(found.values())
