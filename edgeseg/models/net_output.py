"""What a net returns, as logits: one tensor out of a tuple, dict or object, cut back to the head's own resolution."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from edgeseg.errors import InputError

if TYPE_CHECKING:
    from edgeseg.core.spec import NetOutput

KEYS = ("out", "logits")
"""Keys of the logits in dicts (torchvision, SMP) and objects (transformers)."""
LABELS = {torch.argmax, Tensor.argmax, torch.max, Tensor.max}
"""The indices of a `max` over the classes are labels."""
SCORES = {
    functional.softmax, torch.softmax, Tensor.softmax, functional.log_softmax, torch.log_softmax, Tensor.log_softmax,
}  # fmt: skip
_SIGMOIDS = {functional.sigmoid, torch.sigmoid, Tensor.sigmoid, torch.special.expit, torch.sigmoid_, Tensor.sigmoid_}
_SELECTIONS = {Tensor.__getitem__, torch.select, Tensor.select}
"""`z[:, 0]` drops a single channel as `squeeze` does."""
SQUEEZES = {torch.squeeze, Tensor.squeeze} | _SELECTIONS
RESIZES = {functional.interpolate}
FOREGROUND_THRESHOLDS = {torch.gt, Tensor.gt, Tensor.__gt__, torch.ge, Tensor.ge, Tensor.__ge__}
CASTS = {Tensor.to, Tensor.type, Tensor.long, Tensor.int, Tensor.byte, Tensor.float}
ENDS = LABELS | SCORES | _SIGMOIDS | SQUEEZES | RESIZES | FOREGROUND_THRESHOLDS | CASTS


def adapt(net: nn.Module, *, output: NetOutput, classes: int) -> nn.Module:
    """Make `net`, in place, return logits (N, classes, h, w), and return it.

    In training mode it returns (logits, *aux logits) if the net returns further maps with as many channels. Modules,
    parameters and their names stay as they are. Calling it again replaces the earlier rules.
    """
    net.forward = NetLogits(net=net, output=output, classes=classes)
    return net


def labels_of(returned: object, *, output: NetOutput) -> Tensor | None:
    """Return class ids (N, H, W) from a net's output: the largest channel of scores, or labels unchanged.

    One channel of labels is (N, 1, H, W) or (N, H, W), of any integer type, bool or float. None if there is no tensor.
    """
    found = _pick(returned, output.key)
    if not isinstance(found, Tensor):
        return None
    if found.dim() == 4 and found.shape[1] > 1:
        return found.argmax(1)
    return found.reshape(found.shape[0], *found.shape[-2:]).long()


def all_outputs(net: nn.Module, x: Tensor) -> list[Tensor]:
    """Return all outputs of `net` for images x that depend on its weights, logits first."""
    if isinstance(net.forward, NetLogits):
        return net.forward.everything(x)
    result = net(x)
    return list(result) if isinstance(result, tuple) else [result]


@dataclass(eq=False)
class NetLogits:
    """The forward pass of an adapted net: its own, then `output`'s rules."""

    net: nn.Module
    output: NetOutput
    classes: int

    def __call__(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return logits (N, classes, h, w) of images x (N, 3, H, W), followed by aux logits in training mode."""
        tail = _Tail(size=(x.shape[2], x.shape[3]), threshold=self.output.threshold)
        with tail:
            returned = type(self.net).forward(self.net, x)
        main = self._logits(self._main(returned), tail)
        if not self.net.training:
            return main
        more = [self._logits(item, tail) for item in self._others(returned)]
        return (main, *more) if more else main

    def everything(self, x: Tensor) -> list[Tensor]:
        """Return the logits of images x and every other tensor with a gradient that the net returns."""
        tail = _Tail(size=(x.shape[2], x.shape[3]), threshold=self.output.threshold)
        with tail:
            returned = type(self.net).forward(self.net, x)
        main = self._main(returned)
        if isinstance(returned, Mapping):
            others: list[object] = list(returned.values())
        else:
            others = list(returned) if isinstance(returned, (tuple, list)) else []
        more = [item for item in others if isinstance(item, Tensor) and item is not main and item.grad_fn is not None]
        return [self._logits(main, tail), *more]

    def _main(self, returned: object) -> Tensor:
        found = _pick(returned, self.output.key)
        if isinstance(found, Tensor):
            return found
        what = type(returned).__name__
        if isinstance(returned, Mapping):
            what += f" with {', '.join(map(str, returned))}"
        raise InputError(
            f"{type(self.net).__name__} returns a {what}, in which no logits were found. Name them in the spec: "
            'output.key = "...".'
        )

    def _others(self, returned: object) -> list[Tensor]:
        if isinstance(returned, Mapping):
            items = [value for key, value in returned.items() if str(key).startswith("aux")]
        elif isinstance(returned, (tuple, list)):
            items = list(returned)
        else:
            return []
        main = self._main(returned)
        return [
            item for item in items
            if isinstance(item, Tensor) and item is not main and item.dim() == 4 and item.shape[1] == self.classes
        ]  # fmt: skip

    def _logits(self, given: Tensor, tail: _Tail) -> Tensor:
        found, cut_sigmoid = tail.cut(given) if self.output.cut else (given, False)
        one_channel = self.output.one_channel
        if cut_sigmoid:
            one_channel = "logit"
        elif tail.holds_sigmoid(found):
            one_channel = "probability"
        name = type(self.net).__name__
        if found.dim() == 3 and found.dtype.is_floating_point:
            found = found[:, None]
        if found.dim() != 4 or not found.dtype.is_floating_point:
            raise InputError(
                f"{name} returns {tuple(given.shape)} {given.dtype}, labels whose logits were not found. Make it "
                "return the logits, or end with argmax(dim=1), or for one channel with > 0.5 after a sigmoid."
            )
        if found.shape[1] == 1 and self.classes == 2:
            return _two_channels(found, probability=one_channel == "probability", threshold=self.output.threshold)
        return found


def _two_channels(found: Tensor, *, probability: bool, threshold: float) -> Tensor:
    """Return (N, 2, h, w) from the logit or probability of the second class, equal where it is at the threshold."""
    if not probability:
        second = found if threshold == 0.5 else found - logit(threshold)
        return torch.cat((torch.zeros_like(found), second), dim=1)
    if threshold != 0.5:
        ours = found * (1 - threshold)
        found = ours / (ours + (1 - found) * threshold)
    return torch.cat((1 - found, found), dim=1)


def logit(probability: float) -> float:
    """Return the logit whose sigmoid is `probability`, above 0 and below 1."""
    return math.log(probability / (1 - probability))


@dataclass(eq=False)
class _Step:
    """A call of one of `ENDS`: the function, its input and result, and whether it may be cut from a net's end."""

    function: object
    given: Tensor
    result: Tensor
    may_go: bool


@dataclass(eq=False)
class _Tail(TorchFunctionMode):
    """Records the calls of a forward pass that may be cut from its end, to find the logits from its result.

    Nothing is skipped: cut calls are computed but unused, so that an exported graph does not contain them.
    """

    size: tuple[int, int]
    threshold: float = 0.5
    steps: list[_Step] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call a function of torch, and record it if it may be cut."""
        options = dict(kwargs or {})
        result = func(*args, **options)
        given = args[0] if args else options.get("input")
        if func in ENDS and isinstance(given, Tensor):
            made = result[1] if func in LABELS and isinstance(result, tuple) else result
            if func in _SELECTIONS and isinstance(made, Tensor) and made.numel() != given.numel():
                return result
            if isinstance(made, Tensor) and (made is not given or func in _SIGMOIDS):
                # What an in-place sigmoid has read is gone.
                may_go = made is not given and self._may_go(func, given, args, options)
                self.steps.append(_Step(function=func, given=given, result=made, may_go=may_go))
        return result

    def cut(self, result: Tensor) -> tuple[Tensor, bool]:
        """Return the tensor before the cut calls, and whether a sigmoid was cut.

        From the end backwards: a cast of labels, argmax or a threshold, softmax or sigmoid, and one resize, each at
        most once, and squeezes between them. An activation before a resize stays: the order matters.
        """
        sigmoid = False
        labels = (CASTS, SQUEEZES, CASTS, LABELS | FOREGROUND_THRESHOLDS)
        for functions in (*labels, SQUEEZES, SCORES | _SIGMOIDS, SQUEEZES, RESIZES):
            step = self._made(result, functions)
            if step is not None and step.may_go:
                result = step.given
                sigmoid = sigmoid or step.function in _SIGMOIDS
        return result, sigmoid

    def holds_sigmoid(self, result: Tensor) -> bool:
        """Return whether `result` is a sigmoid, resized or not."""
        step = self._made(result, SQUEEZES | RESIZES)
        while step is not None:
            result = step.given
            step = self._made(result, SQUEEZES | RESIZES)
        return self._made(result, _SIGMOIDS) is not None

    def _made(self, result: Tensor, functions: set[Any]) -> _Step | None:
        return next((step for step in self.steps if step.result is result and step.function in functions), None)

    def _may_go(self, function: object, given: Tensor, args: Sequence[Any], options: Mapping[str, Any]) -> bool:
        if function in RESIZES:
            return self._is_our_resize(given, args, options)
        if function in CASTS:
            return not given.dtype.is_floating_point
        if function in FOREGROUND_THRESHOLDS:
            # The second class wins if its probability is above the threshold, i.e. its logit above the threshold's.
            limit = options.get("other", args[1] if len(args) > 1 else None)
            wanted = self.threshold if self.holds_sigmoid(given) else logit(self.threshold)
            return isinstance(limit, (int, float)) and math.isclose(limit, wanted, abs_tol=1e-6)
        if function in LABELS | SCORES:
            return _axis(args, options) in (1, -3) and given.dim() == 4
        return function in _SIGMOIDS or (given.dim() == 4 and given.shape[1] == 1)

    def _is_our_resize(self, given: Tensor, args: Sequence[Any], options: Mapping[str, Any]) -> bool:
        """Return whether a resize is the same as edgeseg's own of logits to the image's size."""
        names = ("input", "size", "scale_factor", "mode", "align_corners", "recompute_scale_factor", "antialias")
        said = {**dict(zip(names, args, strict=False)), **options}
        if given.dim() != 4 or said.get("mode") != "bilinear" or said.get("align_corners") or said.get("antialias"):
            return False
        height, width = given.shape[2], given.shape[3]
        step = self.size[0] // max(1, height)
        whole = (height * step, width * step) == self.size
        size, factor = said.get("size"), said.get("scale_factor")
        if size is not None:
            size = (size, size) if isinstance(size, int) else tuple(size)
            return whole and size == self.size
        factors = (factor, factor) if isinstance(factor, (int, float)) else tuple(factor or ())
        return whole and factors == (step, step)


def _pick(returned: object, key: str) -> object:
    if isinstance(returned, Tensor):
        return returned
    if key:
        if isinstance(returned, (tuple, list)) and not hasattr(returned, key):
            return returned[int(key)] if key.isdigit() and int(key) < len(returned) else None
        return returned.get(key) if isinstance(returned, Mapping) else getattr(returned, key, None)
    # transformers' outputs are both mappings and objects.
    for name in KEYS:
        found = returned.get(name) if isinstance(returned, Mapping) else getattr(returned, name, None)
        if found is not None:
            return found
    return returned[0] if isinstance(returned, (tuple, list)) and returned else None


def _axis(args: Sequence[Any], options: Mapping[str, Any]) -> object:
    axis = options.get("dim", args[1] if len(args) > 1 else None)
    return axis if isinstance(axis, int) else None  # torch.max(a, b) has a tensor there
