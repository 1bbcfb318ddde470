"""State dicts of any origin: read without running code, unwrapped, and loaded strictly."""

from __future__ import annotations

import logging
import pickle
import re
from typing import TYPE_CHECKING

from edgeseg.errors import CheckpointError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from torch import Tensor, nn

WRAPPERS = (
    "state_dict", "model_state_dict", "model_state", "model", "net", "module",
    "state_dict_ema", "model_ema", "ema_state_dict", "ema",
)  # fmt: skip
"""Keys of the net's state dict in training checkpoints; moving averages come last."""
_AVERAGES = WRAPPERS[6:]
_PREFIXES = ("module.", "model.", "_orig_mod.", "net.", "ema_model.", "shadow.")
"""Key prefixes of DistributedDataParallel, Lightning, torch.compile, weight averages and others."""
_COUNTERS = ("n_averaged",)
"""Tensors that PyTorch's own AveragedModel adds; no net has them."""
_CLASS = re.compile(r"(?:GLOBAL|global) ([\w.]+)")
OPTIONAL = "num_batches_tracked"
_log = logging.getLogger(__name__)


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a .safetensors, .pth or .pt file by key, without wrappers such as `state_dict`.

    Pickles are read with weights_only=True: no code in the file runs.

    Raises:
        InputError: no such file.
        CheckpointError: a corrupt file, or one that holds a pickled module or anything but tensors.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise InputError(f"{path}: no such weights file.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(_not_weights(path, error)) from error
    except (SafetensorError, RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
        if "TorchScript" in str(error):
            raise CheckpointError(
                f"{path}: is a TorchScript archive. Save the weights alone: "
                f'torch.save(torch.jit.load("{path.name}").state_dict(), "weights.pth").'
            ) from error
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path}: cannot be read as weights: {reason}") from error
    state = _unwrapped(loaded, path)
    if not isinstance(state, dict) or not state or not all(isinstance(item, torch.Tensor) for item in state.values()):
        raise CheckpointError(f"{path}: holds no state dict (a mapping from key to tensor), but {_described(state)}.")
    return {str(key): value for key, value in state.items() if key not in _COUNTERS}


def _unwrapped(loaded: object, path: Path) -> object:
    """Return the state dict inside wrappers; weights are preferred to their moving average, which is logged."""
    while isinstance(loaded, dict):
        held = [key for key in WRAPPERS if isinstance(loaded.get(key), dict)]
        if not held:
            break
        others = [key for key in held[1:] if key in _AVERAGES]
        if others:
            _log.warning(
                "%s: holds %s and %s; %s is used. Save the other one alone to use it.",
                path,
                held[0],
                others[0],
                held[0],
            )
        loaded = loaded[held[0]]
    return loaded


def _described(found: object) -> str:
    if not isinstance(found, dict):
        return f"a {type(found).__name__}"
    if not found:
        return "an empty table"
    kinds = ", ".join(f"{key} ({type(value).__name__})" for key, value in list(found.items())[:4])
    return f"{kinds}{', ...' if len(found) > 4 else ''}"


def fitted(given: Mapping[str, Tensor], *, keys: set[str]) -> dict[str, Tensor]:
    """Return `given` under the keys of a net, without prefixes.

    A prefix (of `_PREFIXES`, or common to all keys) is removed if more keys fit without it.
    """
    best = dict(given)
    for candidate in _stripped(best):
        if len(keys & candidate.keys()) > len(keys & best.keys()):
            best = candidate
    return best


def load_weights(net: nn.Module, given: Mapping[str, Tensor], *, source: str, advice: str) -> None:
    """Load tensors into all of a net's parameters and buffers; `source` and `advice` frame the error messages.

    Raises:
        CheckpointError: missing or unexpected keys, other shapes, or values that cannot be weights.
    """
    own = net.state_dict()
    missing = [key for key in own if key not in given and not key.endswith(OPTIONAL)]
    unexpected = [key for key in given if key not in own]
    wrong = [key for key in own if key in given and own[key].shape != given[key].shape]
    faults = [
        f"{len(keys)} {what}, first {', '.join(keys[:2])}"
        for what, keys in (("missing", missing), ("unexpected", unexpected), ("of another shape", wrong))
        if keys
    ]
    if faults:
        matched = sum(key in given for key in own) - len(wrong)
        raise CheckpointError(
            f"{source}: does not fit {type(net).__name__}: {matched} of {len(own)} tensors match; {'; '.join(faults)}. "
            f"{advice}"
        )
    check_values(given, own=own, source=source)
    net.load_state_dict(dict(given), strict=False)


def check_values(given: Mapping[str, Tensor], *, own: Mapping[str, Tensor], source: str) -> None:
    """Raise `CheckpointError` for integer, boolean or complex weights and for NaN or infinity; report zeros.

    `own` are the net's tensors: values must be float only where these are.
    """
    import torch

    zeros = []
    for key, value in given.items():
        if key not in own or not own[key].dtype.is_floating_point:
            continue
        if value.is_quantized or not value.dtype.is_floating_point:
            raise CheckpointError(
                f"{source}: {key} is {str(value.dtype).removeprefix('torch.')}; weights must be float. Export the "
                "float weights; edgeseg quantizes them itself."
            )
        if not torch.isfinite(value).all():
            raise CheckpointError(f"{source}: {key} holds NaN or infinity: the training diverged. Use other weights.")
        if value.dim() > 1 and not value.any():
            zeros.append(key)
    if zeros:
        _log.warning("%s: %d weights are all zero, first %s", source, len(zeros), zeros[0])


def _stripped(given: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """Yield the mapping with one prefix after another removed from the keys that have it."""
    first = next(iter(given), "").partition(".")[0] + "."
    shared = (first,) if first not in _PREFIXES and all(key.startswith(first) for key in given) else ()
    for prefix in (*_PREFIXES, *shared):
        if not any(key.startswith(prefix) for key in given):
            continue
        without = {key.removeprefix(prefix): value for key, value in given.items()}
        if len(without) == len(given):
            yield without
            yield from _stripped(without)


def _not_weights(path: Path, error: Exception) -> str:
    text = str(error)
    if "GLOBAL" in text or "global" in text:
        named = _CLASS.search(text)
        what = f"holds a pickled object ({named[1]})" if named else "holds a pickled module or other objects"
        return (
            f"{path}: {what}, and reading it runs its code. If you trust the file, save the weights alone: "
            f'model = torch.load("{path.name}", weights_only=False), then torch.save(model.state_dict(), '
            '"weights.pth"), or instead of model.state_dict() the entry with the weights, such as '
            'model["state_dict"].'
        )
    return f"{path}: cannot be read as weights: {(text.splitlines() or [type(error).__name__])[0]}"
