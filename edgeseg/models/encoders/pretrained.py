"""Public encoder weights: state dicts of others, loaded by key name and shape."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeseg.errors import CheckpointError, InputError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor, nn

# Wrappers that training codes put around an encoder's own keys.
PREFIXES = ("module.", "model.", "encoder.", "backbone.", "features.")


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderLoad:
    """Which keys were loaded, which of the encoder's own were not in the file, and which of the file had no place."""

    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]


def load_encoder(net: nn.Module, path: Path) -> EncoderLoad:
    """Load a state dict (.pth or .safetensors, torchvision key names) into `net.encoder` and say what fitted.

    Keys are taken with or without the prefixes `features.`, `encoder.`, `backbone.`, `module.`. A classifier's keys
    come back as unexpected. Pickles are read with weights_only=True: no code in the file runs.

    Raises:
        UnsupportedError: the architecture has no encoder.
        InputError: no such file.
        CheckpointError: no state dict, a tensor of another shape, or no key that fits.
    """
    features = getattr(getattr(net, "encoder", None), "features", None)
    if features is None:
        raise UnsupportedError(f"{type(net).__name__} has no encoder; encoder weights fit the lraspp_* architectures.")
    given = {_own_key(key): value for key, value in _read_state(path).items()}
    own = features.state_dict()
    matched = {key: value for key, value in given.items() if key in own}
    wrong = [key for key, value in matched.items() if value.shape != own[key].shape]
    if wrong:
        first = wrong[0]
        raise CheckpointError(
            f"{path}: {len(wrong)} tensors have another shape, first {first}: {tuple(matched[first].shape)} where the "
            f"encoder has {tuple(own[first].shape)}. Use the weights of the same variant and width."
        )
    if not matched:
        raise CheckpointError(f'{path}: none of its {len(given)} keys fits, first "{next(iter(given), "none")}".')
    features.load_state_dict(matched, strict=False)
    return EncoderLoad(
        matched=tuple(matched),
        missing=tuple(key for key in own if key not in given),
        unexpected=tuple(key for key in given if key not in own),
    )


def _own_key(key: str) -> str:
    stripped = next((key.removeprefix(prefix) for prefix in PREFIXES if key.startswith(prefix)), key)
    return stripped if stripped == key else _own_key(stripped)


def _read_state(path: Path) -> Mapping[str, Tensor]:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise InputError(f"{path}: no such file of encoder weights.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path}: cannot be read as weights: {reason}") from error
    if isinstance(loaded, dict) and isinstance(loaded.get("state_dict"), dict):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, dict) or not all(isinstance(value, torch.Tensor) for value in loaded.values()):
        raise CheckpointError(f"{path}: holds no state dict (a mapping from key to tensor).")
    return loaded
