"""Public encoder weights: state dicts of other projects, recognised by their keys, loaded completely or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeseg.errors import CheckpointError, UnsupportedError
from edgeseg.models.foreign.encoder_maps import ENCODER_MAPS
from edgeseg.models.foreign.key_map import best_map, translate
from edgeseg.models.state_dict import OPTIONAL, check_values, read_state_dict

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor, nn

    from edgeseg.core.spec import Preprocess

# Prefixes of an encoder's keys in training checkpoints.
_PREFIXES = ("module.", "model.", "encoder.", "backbone.", "features.")


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderLoad:
    """The loaded keys, the encoder's keys missing in the file, and the file's unused keys.

    `layout` is the project with these key names, empty for the encoder's own keys. `preprocess` is that project's
    normalisation, if known.
    """

    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    layout: str = ""
    preprocess: Preprocess | None = None


def load_encoder(net: nn.Module, path: Path) -> EncoderLoad:
    """Load a state dict (.pth, .pt or .safetensors) into `net.encoder` and return the fate of every key.

    Keys are taken with or without the prefixes `features.`, `encoder.`, `backbone.`, `model.` and `module.`, in the
    file and in the encoder; those of EfficientNet-PyTorch are translated. A classifier's keys come back as unexpected.
    Pickles are read with weights_only=True: no code in the file runs.

    Raises:
        UnsupportedError: the net has no encoder.
        InputError: no such file.
        CheckpointError: no state dict, a tensor of another shape, or weights for only a part of the encoder.
    """
    from torch import nn

    encoder = getattr(net, "encoder", None)
    if not isinstance(encoder, nn.Module):
        raise UnsupportedError(f"{type(net).__name__} has no encoder; encoder weights need a net with `net.encoder`.")
    given = {_own_key(key): value for key, value in read_state_dict(path).items()}
    names = {_own_key(key): key for key in encoder.state_dict()}
    own = {key: encoder.state_dict()[name] for key, name in names.items()}
    found = best_map(given, maps=(one for one in ENCODER_MAPS if one.net == type(encoder).__name__))
    dropped: tuple[str, ...] = ()
    if found is not None:
        translated = translate(given, by=found)
        given, dropped = {**translated.tensors, **{key: given[key] for key in translated.unknown}}, translated.dropped
    matched = {key: value for key, value in given.items() if key in own}
    missing = tuple(key for key in own if key not in given)
    _check(matched, own=own, missing=missing, first=next(iter(given), "none"), count=len(given), path=path)
    encoder.load_state_dict({names[key]: value for key, value in matched.items()}, strict=False)
    return EncoderLoad(
        matched=tuple(matched),
        missing=missing,
        unexpected=(*(key for key in given if key not in own), *dropped),
        layout="" if found is None else found.layout,
        preprocess=None if found is None else found.preprocess,
    )


def _check(
    matched: Mapping[str, Tensor],
    *,
    own: Mapping[str, Tensor],
    missing: tuple[str, ...],
    first: str,
    count: int,
    path: Path,
) -> None:
    if not matched:
        raise CheckpointError(f'{path}: none of its {count} keys matches, first "{first}".')
    wrong = [key for key, value in matched.items() if value.shape != own[key].shape]
    if wrong:
        key = wrong[0]
        raise CheckpointError(
            f"{path}: {len(wrong)} tensors have another shape, first {key}: {tuple(matched[key].shape)} where the "
            f"encoder has {tuple(own[key].shape)}. Use the weights of the same variant and width."
        )
    needed = [key for key in missing if not key.endswith(OPTIONAL)]
    if needed:
        raise CheckpointError(
            f"{path}: lacks {len(needed)} of the encoder's {len(own)} tensors, first {needed[0]}. Use the weights of "
            "the same variant: an encoder with some fresh layers is worse than none."
        )
    check_values(matched, own=own, source=str(path))


def _own_key(key: str) -> str:
    stripped = next((key.removeprefix(prefix) for prefix in _PREFIXES if key.startswith(prefix)), key)
    return stripped if stripped == key else _own_key(stripped)
