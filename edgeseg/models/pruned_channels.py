"""Nets with fewer channels than their architecture, as structured pruning makes them: as data and as modules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeseg.core.spec import LayerChannels
from edgeseg.core.suggestions import suggestion
from edgeseg.errors import CheckpointError, InputError
from edgeseg.models.dry_run import dry_forward
from edgeseg.models.surgery import put

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn


def layer_widths(net: nn.Module) -> dict[str, LayerChannels]:
    """Return the channels of each layer of `net`, by name."""
    from edgeseg.models.layer_kinds import channel_layers, width_of

    return {name: width_of(name, layer) for name, layer in channel_layers(net).items()}


def channels_of(net: nn.Module, *, plain: nn.Module) -> tuple[LayerChannels, ...]:
    """Return the layers of `net` that are narrower than in `plain`, without auxiliary heads."""
    theirs, aux = layer_widths(plain), _has_aux(net)
    return tuple(
        width
        for name, width in layer_widths(net).items()
        if not (aux and name.startswith("aux.")) and width != theirs.get(name)
    )


def narrow(net: nn.Module, channels: tuple[LayerChannels, ...], *, size: tuple[int, int], inputs: int = 3) -> None:
    """Replace the layers of a fresh net, in place, by fresh layers of the given widths; `size` is the input size.

    Raises:
        CheckpointError: a layer that the net does not have, or widths that do not fit each other.
    """
    from edgeseg.models.blocks.layers import initialise
    from edgeseg.models.layer_kinds import channel_layers, resized_layer

    layers = channel_layers(net)
    for width in channels:
        if width.name not in layers:
            near = suggestion(width.name, layers)
            raise CheckpointError(f'channels: {type(net).__name__} has no layer "{width.name}".{near}')
        made = resized_layer(layers[width.name], width)
        initialise(made)
        put(net, width.name, made)
    _fit_aux(net, size=size, inputs=inputs)


def _has_aux(net: nn.Module) -> bool:
    from torch import nn

    return isinstance(getattr(net, "aux", None), nn.ModuleList)


def _fit_aux(net: nn.Module, *, size: tuple[int, int], inputs: int) -> None:
    """Fit each auxiliary head's first layer to its input, and check that the whole net runs.

    The spec does not describe auxiliary heads, which are never saved: a dry run finds their inputs.
    """
    from edgeseg.models.blocks.layers import initialise
    from edgeseg.models.layer_kinds import channel_layers, resized_layer, width_of

    seen = _aux_inputs(net, size=size, inputs=inputs)
    for index, reached in seen.items():
        layers = channel_layers(net)
        name, first = next((name, layer) for name, layer in layers.items() if name.startswith(f"aux.{index}."))
        made = resized_layer(first, LayerChannels(name=name, inputs=reached, outputs=width_of(name, first).outputs))
        initialise(made)
        put(net, name, made)


def _aux_inputs(net: nn.Module, *, size: tuple[int, int], inputs: int) -> dict[int, int]:
    """Return the input channels of each auxiliary head, by its index, if the head does not fit them."""
    seen: dict[int, int] = {}

    def listen(dry: nn.Module) -> None:
        seen.clear()
        for index, head in enumerate(dry.aux if _has_aux(dry) else ()):  # type: ignore[arg-type]
            head.register_forward_pre_hook(_fitter(index, seen))

    try:
        dry_forward(net, size=size, inputs=inputs, batch=2, training=True, prepare=listen)
    except InputError as error:
        raise CheckpointError(
            f"channels: the widths do not fit the net: {error} Copy the whole checkpoint again."
        ) from error
    return seen


def _fitter(index: int, seen: dict[int, int]) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    """Return a hook that records an auxiliary head's input channels, and lets the dry run continue."""
    from edgeseg.models.layer_kinds import channel_layers, resized_layer, width_of

    def fit(head: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        name, first = next(iter(channel_layers(head).items()))
        reached = inputs[0].shape[1]
        width = width_of(name, first)
        if reached != width.inputs:
            seen[index] = reached
            fitting = LayerChannels(name=name, inputs=reached, outputs=width.outputs)
            put(head, name, resized_layer(first, fitting).to(inputs[0].device))

    return fit
