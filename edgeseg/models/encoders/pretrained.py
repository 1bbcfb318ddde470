"""Public encoder weights: state dicts of others, loaded by key name and shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeseg.errors import CheckpointError, UnsupportedError
from edgeseg.models.state_dict import check_values, read_state_dict

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

# Wrappers that training codes put around an encoder's own keys.
_PREFIXES = ("module.", "model.", "encoder.", "backbone.", "features.")


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderLoad:
    """The keys that were loaded, those of the encoder that the file lacks, and those of the file that had no place."""

    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]


def load_encoder(net: nn.Module, path: Path) -> EncoderLoad:
    """Load a state dict (.pth, .pt or .safetensors) into `net.encoder` and return which keys fitted.

    Keys are taken with or without the prefixes `features.`, `encoder.`, `backbone.`, `model.` and `module.`, in the
    file and in the encoder. A classifier's keys come back as unexpected. Pickles are read with weights_only=True: no
    code in the file runs.

    Raises:
        UnsupportedError: the architecture names no encoder.
        InputError: no such file.
        CheckpointError: no state dict, a tensor of another shape, or no key that fits.
    """
    from torch import nn

    encoder = getattr(net, "encoder", None)
    if not isinstance(encoder, nn.Module):
        raise UnsupportedError(f"{type(net).__name__} has no encoder: encoder weights need a net with `net.encoder`.")
    given = {_own_key(key): value for key, value in read_state_dict(path).items()}
    names = {_own_key(key): key for key in encoder.state_dict()}
    own = {key: encoder.state_dict()[name] for key, name in names.items()}
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
    check_values(matched, own=own, source=str(path))
    encoder.load_state_dict({names[key]: value for key, value in matched.items()}, strict=False)
    return EncoderLoad(
        matched=tuple(matched),
        missing=tuple(key for key in own if key not in given),
        unexpected=tuple(key for key in given if key not in own),
    )


def _own_key(key: str) -> str:
    stripped = next((key.removeprefix(prefix) for prefix in _PREFIXES if key.startswith(prefix)), key)
    return stripped if stripped == key else _own_key(stripped)
