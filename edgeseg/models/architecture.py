"""What an architecture offers, and the one door to build any of them by name."""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from edgeseg.core import registry
from edgeseg.core.suggestions import suggestion
from edgeseg.errors import CheckpointError, InputError, MissingDependency

if TYPE_CHECKING:
    from torch import nn

    from edgeseg.core.spec import LayerChannels, ModelSpec

GROUP = "models"


class BuildNet(Protocol):
    """Builds a net with fresh weights for a number of classes and an input size (height, width)."""

    def __call__(self, *, classes: int, size: tuple[int, int], aux: bool = False) -> nn.Module: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """A network that can be built by name: input (N, 3, H, W) normalised float, output logits at `output_stride`."""

    name: str
    build: BuildNet
    output_stride: int
    size_multiple: int
    paper: str
    description: str


def architecture(name: str) -> Architecture:
    """Return the architecture registered as `name` in the entry-point group `edgeseg.models`.

    Raises:
        UnknownName: no such architecture, with the nearest one.
        MissingDependency: a plug-in that cannot be imported or is no architecture.
    """
    found = registry.load(GROUP, name)
    if not isinstance(found, Architecture):
        raise MissingDependency(f'Model "{name}" is not an Architecture but {type(found).__name__}: mend its plug-in.')
    return found


def architectures() -> tuple[str, ...]:
    """Return the names of all registered architectures, sorted, without importing them."""
    return registry.names(GROUP)


def build(
    name: str,
    *,
    classes: int,
    size: tuple[int, int],
    aux: bool = False,
    channels: tuple[LayerChannels, ...] = (),
    bypassed: tuple[str, ...] = (),
) -> nn.Module:
    """Return a net with fresh weights, in training mode; `size` is (height, width) of its input in pixels.

    `channels` are a pruned net's layers that differ from the architecture's own; auxiliary heads follow them.
    `bypassed` are modules in whose place an identity stands.

    In training mode with `aux` it returns a tuple (logits, *aux logits), otherwise logits alone,
    (N, classes, H / output_stride, W / output_stride). Weights do not depend on the size and load across sizes.

    Raises:
        UnknownName: no such architecture.
        InputError: fewer than one class, or a size that is not a positive multiple of the architecture's own.
        CheckpointError: `channels` that do not belong to the architecture or to each other, or no such module.
    """
    chosen = architecture(name)
    if classes < 1:
        raise InputError(f"{name}: {classes} classes; at least one is needed.")
    check_size(size, multiple=chosen.size_multiple, name=name)
    net = chosen.build(classes=classes, size=size, aux=aux)
    for module in bypassed:
        bypass(net, module)
    if channels:
        from edgeseg.models.pruned_channels import narrow

        narrow(net, channels, size=size)
    return net


def build_spec(spec: ModelSpec, *, aux: bool = False) -> nn.Module:
    """Return the net that `spec` describes, as `build` does, which also says what is raised."""
    return build(
        spec.architecture,
        classes=len(spec.classes),
        size=spec.size,
        aux=aux,
        channels=spec.channels,
        bypassed=spec.bypassed,
    )


def bypass(net: nn.Module, name: str) -> None:
    """Put an identity in the place of a module, in the net itself.

    Raises:
        CheckpointError: the net has no such module.
    """
    from torch import nn

    modules = {path for path, _ in net.named_modules() if path}
    if name not in modules:
        near = suggestion(name, modules)
        raise CheckpointError(f'bypassed: {type(net).__name__} has no module "{name}".{near}')
    parent, _, own = name.rpartition(".")
    setattr(net.get_submodule(parent), own, nn.Identity())


def swapped(net: nn.Module, *, spec: ModelSpec, name: str) -> tuple[nn.Module, ModelSpec]:
    """Return the weights of `net` in the architecture `name`, and the spec that goes with it.

    Raises:
        UnknownName: no such architecture.
        InputError: an architecture of other layers, or of another output stride.
    """
    other = architecture(name)
    refusal = InputError(f"{name} has other layers than {spec.architecture}. Swap for one that has the same.")
    try:
        made = build_spec(dataclasses.replace(spec, architecture=name))
    except CheckpointError:
        raise refusal from None
    own, theirs = ({key: value.shape for key, value in one.state_dict().items()} for one in (net, made))
    if own != theirs or other.output_stride != architecture(spec.architecture).output_stride:
        raise refusal
    made.load_state_dict(net.state_dict())
    return made, dataclasses.replace(spec, architecture=name)


def check_size(size: tuple[int, int], *, multiple: int, name: str) -> None:
    """Raise `InputError` with the nearest sizes unless (height, width) are positive multiples of `multiple`."""
    if all(side > 0 and side % multiple == 0 for side in size):
        return
    height, width = size
    below = "x".join(str(max(multiple, side // multiple * multiple)) for side in size)
    above = "x".join(str(max(multiple, -(-side // multiple) * multiple)) for side in size)
    nearest = below if below == above else f"{below} or {above}"
    raise InputError(f"Input is {height}x{width}; {name} needs multiples of {multiple}. Use {nearest}.")


def without_aux(net: nn.Module) -> nn.Module:
    """Return a copy of net without its auxiliary heads; the logits stay the same, the state dict loses `aux.*`."""
    from torch import nn

    copied = copy.deepcopy(net)
    if hasattr(copied, "aux"):
        copied.aux = nn.ModuleList()
    return copied
