"""Nets built from a registered name, a factory or a spec, and rebuilt for another size, class count or architecture."""

from __future__ import annotations

import dataclasses
import inspect
from typing import TYPE_CHECKING

from edgeseg.core.suggestions import suggestion
from edgeseg.errors import CheckpointError, InputError, UnsupportedError
from edgeseg.models.architecture import architecture
from edgeseg.models.dry_run import check_logits, logits_shape
from edgeseg.models.factory import call_factory, depends_on_size, is_factory
from edgeseg.models.net_output import adapt
from edgeseg.models.pruned_channels import layer_widths, narrow
from edgeseg.models.rewriting import rewrite_ops
from edgeseg.models.state_dict import load_weights
from edgeseg.models.surgery import bypass, without_aux

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from edgeseg.core.spec import Argument, LayerChannels, ModelSpec, NetOutput, OpRewrite

FOREIGN_MULTIPLE = 32
"""The multiple for sizes that edgeseg chooses itself: most encoders halve the size five times."""


def build(
    name: str,
    *,
    classes: int,
    size: tuple[int, int],
    aux: bool = False,
    inputs: int = 3,
    channels: tuple[LayerChannels, ...] = (),
    bypassed: tuple[str, ...] = (),
    rewrites: tuple[OpRewrite, ...] = (),
    arguments: Mapping[str, Argument] | None = None,
    output: NetOutput | None = None,
) -> nn.Module:
    """Return a net with fresh weights, in training mode; `size` is (height, width) of its input in pixels.

    `name` is a registered architecture or `package.module:factory`, and `arguments` are its own options; `output`
    belongs to factories.
    `channels` are a pruned net's layers that differ from the architecture's own; auxiliary heads follow them.
    `bypassed` modules are replaced by identities, and ops are computed as `rewrites` say.

    In training mode with `aux` it may return a tuple (logits, *aux logits), otherwise it returns logits alone,
    (N, classes, H / output_stride, W / output_stride).

    Raises:
        UnknownName: no such architecture.
        InputError: fewer than one class, a size, a number of input channels or an argument that the architecture does
            not support, or a factory that cannot be called.
        CheckpointError: `channels` that do not belong to the architecture or to each other, or no such module or
            rewrite.
    """
    if classes < 1:
        raise InputError(f"{name}: {classes} classes; required: at least one.")
    if is_factory(name):
        net = call_factory(name, classes=classes, size=size, aux=aux, arguments=arguments).train()
    else:
        net = _registered(name, classes=classes, size=size, aux=aux, inputs=inputs, arguments=arguments or {})
    if output is not None:
        adapt(net, output=output, classes=classes)
    for module in bypassed:
        bypass(net, module)
    if channels:
        narrow(net, channels, size=size, inputs=inputs)
    rewrite_ops(net, rewrites)
    return net


def build_spec(spec: ModelSpec, *, aux: bool = False) -> nn.Module:
    """Return the net that `spec` describes; raises as `build`."""
    return build(
        spec.architecture,
        classes=len(spec.classes),
        size=spec.size,
        aux=aux,
        inputs=spec.inputs[0].shape[1],
        channels=spec.channels,
        bypassed=spec.bypassed,
        rewrites=spec.rewrites,
        arguments=spec.arguments,
        output=spec.output,
    )


def output_stride(
    name: str,
    *,
    classes: int,
    size: tuple[int, int],
    arguments: Mapping[str, Argument] | None = None,
    output: NetOutput | None = None,
) -> int:
    """Return the output stride of a net: the architecture's own, or as found by a dry run of a factory's net.

    Raises:
        InputError: a net that returns another number of channels than `classes`, or without a whole stride.
        Others as `build`.
    """
    if not is_factory(name):
        return architecture(name).output_stride
    net = build(name, classes=classes, size=size, arguments=arguments, output=output)
    return stride_of(net, name=name, classes=classes, size=size)


def stride_of(net: nn.Module, *, name: str, classes: int, size: tuple[int, int]) -> int:
    """Return the output stride that a dry run of a net at `size` finds; raises as `output_stride`."""
    _, channels, rows, columns = logits_shape(net, size=size)
    height, width = size
    if channels != classes:
        raise InputError(f"{name}: returns {channels} channels for {classes} classes. Correct the spec, or the net.")
    if height % rows or width % columns or height // rows != width // columns:
        near = "x".join(str(max(FOREIGN_MULTIPLE, round(side / FOREIGN_MULTIPLE) * FOREIGN_MULTIPLE)) for side in size)
        raise InputError(
            f"{name}: {height}x{width} gives {rows}x{columns} cells: not a whole output stride. Choose a size "
            f"that the net divides evenly, such as {near}."
        )
    return height // rows


def build_unpruned(spec: ModelSpec) -> nn.Module:
    """Return the net of `spec` with all channels of its architecture."""
    return build_spec(dataclasses.replace(spec, channels=()))


def net_at(net: nn.Module, *, spec: ModelSpec, built_for: tuple[int, int]) -> nn.Module:
    """Return a copy of `net`, with its weights, in evaluation mode on the CPU, for the input size of `spec`.

    `built_for` is the size (height, width) that the net was built for. If the structure depends on the size, the net is
    rebuilt with the same weights; any other net is checked by a forward pass at the new size.

    Raises:
        InputError: a size that the net does not support.
    """
    import torch

    copied: nn.Module = without_aux(net).eval().cpu().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    if spec.size == built_for:
        return copied
    if not is_factory(spec.architecture) or _built_by_size(spec.architecture):
        made = build_spec(spec)
        load_weights(made, copied.state_dict(), source=f"{spec.name} at {spec.size[0]}x{spec.size[1]}", advice="")
        return made.eval()
    check_logits(copied, spec=spec)
    return copied


def size_multiple(spec: ModelSpec) -> int:
    """Return the number that input sizes of a net should be multiples of."""
    return FOREIGN_MULTIPLE if is_factory(spec.architecture) else architecture(spec.architecture).size_multiple


def check_size(size: tuple[int, int], *, multiple: int, name: str) -> None:
    """Raise `InputError` with the nearest sizes unless (height, width) are positive multiples of `multiple`."""
    if all(side > 0 and side % multiple == 0 for side in size):
        return
    height, width = size
    below = "x".join(str(max(multiple, side // multiple * multiple)) for side in size)
    above = "x".join(str(max(multiple, -(-side // multiple) * multiple)) for side in size)
    nearest = below if below == above else f"{below} or {above}"
    raise InputError(f"Input is {height}x{width}; {name} needs multiples of {multiple}. Use {nearest}.")


def swapped(net: nn.Module, *, spec: ModelSpec, name: str) -> tuple[nn.Module, ModelSpec]:
    """Return the weights of `net` in the architecture `name`, and the spec that goes with it.

    Raises:
        UnknownName: no such architecture.
        InputError: an architecture with other layers, or with another output stride.
    """
    refusal = InputError(f"{name} has other layers than {spec.architecture}. Choose one with the same layers.")
    changed = dataclasses.replace(spec, architecture=name)
    try:
        made = build_spec(changed)
    except CheckpointError:
        raise refusal from None
    own, theirs = ({key: value.shape for key, value in one.state_dict().items()} for one in (net, made))
    if own != theirs:
        raise refusal
    made.load_state_dict(net.state_dict())
    try:
        check_logits(made, spec=changed)
    except InputError:
        raise refusal from None
    return made, changed


def for_classes(spec: ModelSpec, *, classes: int) -> tuple[LayerChannels, ...]:
    """Return the channels of a pruned net's spec for another number of classes."""
    few, more = (_widths_for(spec, classes=number) for number in (classes, classes + 1))
    outputs = {name: width.outputs for name, width in few.items()}
    fresh = {name for name, width in more.items() if width.outputs != outputs[name]}
    return tuple(
        dataclasses.replace(item, outputs=outputs[item.name]) if item.name in fresh else item for item in spec.channels
    )


def classifier_keys(spec: ModelSpec) -> set[str]:
    """Return the keys of the state dict whose shape depends on the number of classes."""
    count = len(spec.classes)
    few, more = (_for_count(spec, classes=number).state_dict() for number in (count, count + 1))
    return {key for key, value in few.items() if value.shape != more[key].shape}


def _registered(
    name: str,
    *,
    classes: int,
    size: tuple[int, int],
    aux: bool,
    inputs: int,
    arguments: Mapping[str, Argument],
) -> nn.Module:
    chosen = architecture(name)
    check_size(size, multiple=chosen.size_multiple, name=name)
    takes = inspect.signature(chosen.build).parameters
    _check_arguments(arguments, of=takes, name=name)
    options: dict[str, object] = dict(arguments)
    if aux and "aux" in takes:
        options["aux"] = True
    if inputs not in chosen.input_channels:
        able = " or ".join(map(str, chosen.input_channels))
        raise InputError(f"{name}: {inputs} input channels; it is built for {able}.")
    if inputs != 3:
        options["inputs"] = inputs
    return chosen.build(classes=classes, size=size, **options)


def _check_arguments(arguments: Mapping[str, Argument], *, of: Mapping[str, inspect.Parameter], name: str) -> None:
    """Raise `InputError` for an argument that the architecture does not have, or a value of another type."""
    known = {key: item.default for key, item in of.items() if isinstance(item.default, bool | int | float | str)}
    known = {key: default for key, default in known.items() if key not in ("aux", "inputs")}
    for key, value in arguments.items():
        if key not in known:
            listed = ", ".join(known) or "none"
            raise InputError(f'{name}: has no argument "{key}".{suggestion(key, known)} It takes: {listed}.')
        needed = type(known[key])
        if type(value) is not needed and not (needed is float and type(value) is int):
            raise InputError(f"{name}: {key} = {value!r}; a value of type {needed.__name__} is needed.")


def _built_by_size(name: str) -> bool:
    """Return whether a factory takes the size; a net in memory whose factory cannot be found is used unchanged."""
    try:
        return depends_on_size(name)
    except (InputError, UnsupportedError):
        return False


def _widths_for(spec: ModelSpec, *, classes: int) -> dict[str, LayerChannels]:
    return layer_widths(_for_count(spec, classes=classes))


def _for_count(spec: ModelSpec, *, classes: int) -> nn.Module:
    return build(
        spec.architecture, classes=classes, size=spec.size, inputs=spec.inputs[0].shape[1], arguments=spec.arguments
    )
