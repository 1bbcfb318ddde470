"""Which of ONNX Runtime's execution providers ran each node, from its profile of one run."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgeseg.core.placement import CPU, OpPlacement
from edgeseg.errors import ArtifactError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import onnxruntime

    from edgeseg.core.artifact import Artifact

_COPIES = frozenset({"MemcpyFromHost", "MemcpyToHost"})
"""Copies between the CPU's memory and the GPU's, which ONNX Runtime adds: they compute nothing."""
_SUFFIX = "_kernel_time"


def placements_of_run(
    opened: Callable[[onnxruntime.SessionOptions], onnxruntime.InferenceSession],
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
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.enable_profiling = True
    tensor = artifact.manifest.inputs[0]
    with tempfile.TemporaryDirectory(prefix="edgeseg-") as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        try:
            session = opened(options)
            session.run(None, {session.get_inputs()[0].name: np.zeros(tensor.shape, tensor.dtype)})
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        except (OSError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise ArtifactError(f"{artifact.entry}: ONNX Runtime cannot profile it: {reason[:300]}") from None
    return placements_of_profile(events, units=units)


def placements_of_profile(events: list[dict[str, object]], *, units: Mapping[str, str]) -> tuple[OpPlacement, ...]:
    """Return the nodes of a profile in the order in which they ran, each once."""
    found: dict[str, OpPlacement] = {}
    for event in events:
        name, details = event.get("name"), event.get("args")
        ran = event.get("cat") == "Node" and isinstance(name, str) and name.endswith(_SUFFIX)
        if not ran or not isinstance(details, dict) or details.get("op_name") in _COPIES:
            continue
        node, provider = str(name).removesuffix(_SUFFIX), str(details.get("provider", ""))
        unit = units.get(provider, CPU)
        reason = "" if unit != CPU else f"ran in {provider or 'an unnamed provider'}"
        found[node] = OpPlacement(op=str(details.get("op_name", "")), node=node, unit=unit, reason=reason)
    return tuple(found.values())
