"""The data flow of a net: which call of a forward pass reads the output of which other, however modules are written.

One forward pass is recorded through `torch.overrides.TorchFunctionMode`, so functional calls (`F.batch_norm`, `x + y`)
count like modules, and a layer is recognised by the parameters that a call reads, not by where it is stored.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# In evaluation mode they return their input.
_NO_OPS = frozenset({"dropout", "dropout1d", "dropout2d", "alpha_dropout", "contiguous", "detach"})


@dataclass(slots=True, kw_only=True, eq=False)
class Call:
    """One call of a forward pass that returns tensors.

    `op` is the function's name without the underscore of in-place variants. `layer` is the path of the only module
    whose parameters it reads, "" for none or several; `module` that of the innermost module that makes the call.
    `shape` and `input_shape` are those of its first output and input, `()` if it reads no tensor. `inputs` are the
    calls whose outputs it reads, in order, and `readers` those that read its own. `is_output`: the net returns it.
    """

    op: str
    layer: str
    module: str
    shape: tuple[int, ...] = ()
    input_shape: tuple[int, ...] = ()
    inputs: list[Call] = field(default_factory=list)
    readers: list[Call] = field(default_factory=list)
    is_output: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFlow:
    """The calls of one forward pass in order, without no-ops."""

    calls: tuple[Call, ...]

    def of(self, layer: str) -> tuple[Call, ...]:
        """Return the calls that read the parameters of a module, by its path."""
        return tuple(call for call in self.calls if call.layer == layer)


def trace(net: nn.Module, *, size: tuple[int, int]) -> DataFlow:
    """Return the data flow of `net` in evaluation mode for one image of `size` (height, width)."""
    like = next((item for item in net.parameters() if item.is_floating_point()), torch.zeros(()))
    image = torch.zeros((1, 3, *size), dtype=like.dtype, device=like.device)
    watcher = _Watcher(net)
    with evaluating(net), torch.no_grad(), watcher.following(), watcher:
        watcher.finish(net(image))
    return DataFlow(calls=tuple(watcher.calls))


@contextlib.contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """Put every module of `net` in evaluation mode for the block, and restore its mode afterwards."""
    modes = {module: module.training for module in net.modules()}
    net.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


class _Watcher(TorchFunctionMode):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self._net = net
        self._makers: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self._owners = {
            id(tensor): path
            for path, module in net.named_modules()
            for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False))
        }
        self._path = [""]

    @contextlib.contextmanager
    def following(self) -> Iterator[None]:
        """Track the path of the innermost running module."""
        with contextlib.ExitStack() as stack:
            for path, module in self._net.named_modules():
                enter = module.register_forward_pre_hook(lambda _module, _inputs, path=path: self._path.append(path))
                leave = module.register_forward_hook(lambda *_: self._leave(), always_call=True)
                stack.callback(enter.remove)
                stack.callback(leave.remove)
            yield

    def _leave(self) -> None:
        self._path.pop()

    def finish(self, outputs: object) -> None:
        """Mark the calls whose outputs the net returns."""
        for maker in self._reads(_tensors((outputs,))):
            maker.is_output = True

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> object:
        kwargs = kwargs or {}
        given = list(_tensors((args, kwargs)))
        # Before the call: an in-place call returns the tensor that it reads.
        read = self._reads(given)
        input_shape = tuple(given[0].shape) if given else ()
        result = func(*args, **kwargs)
        made = list(_tensors((result,)))
        if func is Tensor.__setitem__:  # y[:, 0] = 0 returns nothing, and changes y
            made = given[:1]
        if not made:
            return result
        op = str(getattr(func, "__name__", func)).rstrip("_")
        if op in _NO_OPS and len(read) == 1:
            for tensor in made:
                self._makers[tensor] = read[0]
            return result
        owners = dict.fromkeys(self._owners[id(tensor)] for tensor in given if id(tensor) in self._owners)
        call = Call(
            op=op, layer=next(iter(owners)) if len(owners) == 1 else "", module=self._path[-1],
            shape=tuple(made[0].shape), input_shape=input_shape, inputs=read,
        )  # fmt: skip
        for maker in read:
            maker.readers.append(call)
        for tensor in made:
            self._makers[tensor] = call
        self.calls.append(call)
        return result

    def _reads(self, tensors: Iterable[Tensor]) -> list[Call]:
        return list(dict.fromkeys(self._makers[tensor] for tensor in tensors if tensor in self._makers))


def _tensors(value: object) -> Iterator[Tensor]:
    """Yield the tensors in nested tuples, lists and dictionaries."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _tensors(item)
