"""Forward hooks: outputs of modules inside a net, and a student with adapters on them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from edgeseg.core.suggestions import suggestion
from edgeseg.errors import InputError, UnknownName

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence


@contextlib.contextmanager
def tapped(net: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Yield a mapping that holds, after a forward pass, the output (N, C, h, w) of each named module.

    The hooks are removed after the block, so a copy of the net never has one.

    Raises:
        UnknownName: the net has no such module, with the nearest one.
        InputError: a module whose output is not one feature map.
    """
    modules = dict(net.named_modules())
    found: dict[str, Tensor] = {}
    with contextlib.ExitStack() as stack:
        for name in names:
            if name not in modules or not name:
                raise _no_module(name, modules)
            stack.callback(modules[name].register_forward_hook(_recorder(name, found)).remove)
        yield found


def channels(net: nn.Module, names: Sequence[str], *, size: tuple[int, int]) -> list[int]:
    """Return the number of output channels of each named module for an input of `size`; raises as `tapped` does."""
    was = net.training
    net.eval()
    with torch.no_grad(), tapped(net, names) as found:
        net(torch.zeros(1, 3, *size))
    net.train(was)
    silent = [name for name in names if name not in found]
    if silent:
        raise InputError(f'Module "{silent[0]}" is never called in a forward pass. Name another module.')
    return [found[name].shape[1] for name in names]


class Adapted(nn.Module):
    """A student with 1x1 convolutions on the outputs of some modules, to the teacher's numbers of channels.

    A call returns the student's own outputs; in training mode `take` then returns the adapted ones. The convolutions
    are part of the net, so they are trained, averaged and saved with the run, but left out of checkpoints.
    """

    def __init__(
        self, student: nn.Module, *, names: Sequence[str], inputs: Sequence[int], outputs: Sequence[int]
    ) -> None:
        super().__init__()
        self.student = student
        self.names = tuple(names)
        self.adapters = nn.ModuleList(nn.Conv2d(i, o, 1, bias=False) for i, o in zip(inputs, outputs, strict=True))
        self._adapted: list[Tensor] = []

    @property
    def encoder(self) -> nn.Module:
        """The student's encoder, which has its own learning rate; an empty module if it has none."""
        found: nn.Module = getattr(self.student, "encoder", nn.Module())
        return found

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return what the student returns."""
        if not self.training:
            result: Tensor = self.student(x)
            return result
        with tapped(self.student, self.names) as found:
            outputs: Tensor | tuple[Tensor, ...] = self.student(x)
        self._adapted = [adapter(found[name]) for adapter, name in zip(self.adapters, self.names, strict=True)]
        return outputs

    def take(self) -> list[Tensor]:
        """Return the adapted outputs of the last forward pass, and drop them: they would prevent copying the net."""
        outputs, self._adapted = self._adapted, []
        return outputs


def _no_module(name: str, modules: Iterable[str]) -> UnknownName:
    """Return the error; a net has hundreds of modules, so only the outermost are listed."""
    known = [key for key in modules if key]
    outer = ", ".join(key for key in known if "." not in key)
    return UnknownName(f'Unknown module "{name}".{suggestion(name, known)} The net holds {outer}, and modules inside.')


def _recorder(name: str, found: dict[str, Tensor]) -> Callable[[nn.Module, tuple[Tensor, ...], object], None]:
    def hook(module: nn.Module, given: tuple[Tensor, ...], output: object) -> None:
        if not isinstance(output, Tensor) or output.ndim != 4:
            raise InputError(f'Module "{name}" ({type(module).__name__}) does not return one feature map (N, C, h, w).')
        found[name] = output

    return hook
