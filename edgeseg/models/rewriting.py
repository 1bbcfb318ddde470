"""Nets that compute some of their ops in another way: `rewrite_ops` applies the rewrites of a spec."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch.overrides import TorchFunctionMode

from edgeseg.core.suggestions import suggestion
from edgeseg.errors import CheckpointError, UnknownName
from edgeseg.models.op_rewrites import FOUR_DIMENSIONS, OpAlternative, alternative
from edgeseg.models.view_rewrite import FOLLOWED, ViewFollower

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import nn

    from edgeseg.core.spec import OpRewrite


def rewrite_ops(net: nn.Module, rewrites: Sequence[OpRewrite]) -> nn.Module:
    """Make a net, in place, compute ops as `rewrites` say, and return it.

    Modules, parameters and their names stay as they are, whether an op is a module or a call in somebody's `forward`.
    It holds in training too, for any size and batch, and in what is exported.

    Raises:
        CheckpointError: no such op, way or module.
    """
    for layer in dict.fromkeys(item.layer for item in rewrites):
        try:
            ways = tuple(alternative(item.op, item.to) for item in rewrites if item.layer == layer)
        except UnknownName as error:
            raise CheckpointError(f"rewrites: {error}") from None
        modules = {path for path, _ in net.named_modules()}
        if layer not in modules:
            raise CheckpointError(
                f'rewrites: {type(net).__name__} has no module "{layer}".{suggestion(layer, modules - {""})}'
            )
        module, rewriter = net.get_submodule(layer), _Rewriter(ways=ways)
        module.register_forward_pre_hook(rewriter.enter)
        module.register_forward_hook(rewriter.leave, always_call=True)
    return net


@dataclass(eq=False)
class _Rewriter:
    """The hooks around a module's forward pass: within it, calls are computed in other ways."""

    ways: tuple[OpAlternative, ...]
    active: list[_Calls] = field(default_factory=list)

    def enter(self, _module: nn.Module, _inputs: object) -> None:
        """Start rewriting."""
        self.active.append(_Calls(self.ways))
        self.active[-1].__enter__()  # type: ignore[no-untyped-call]

    def leave(self, _module: nn.Module, _inputs: object, _output: object) -> None:
        """Stop rewriting, also after a failed forward pass."""
        self.active.pop().__exit__(None, None, None)  # type: ignore[no-untyped-call]


class _Calls(TorchFunctionMode):
    """Replaces calls of torch's functions, the first of `ways` that takes a call."""

    def __init__(self, ways: tuple[OpAlternative, ...]) -> None:
        super().__init__()
        self._ways = [way for way in ways if way.name != FOUR_DIMENSIONS]
        self._views = ViewFollower() if len(self._ways) < len(ways) else None

    def __torch_function__(
        self, func: Any, types: object, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call a function of torch, or what computes it in another way."""
        options = dict(kwargs or {})
        if self._views is not None and func in FOLLOWED:
            return self._views.result(func, args, options)
        for way in self._ways:
            if func is way.function:
                made = way.compute(*args, **options)
                if made is not None:
                    return made
        return func(*args, **options)
