"""Where each op of a net would run on a chip, from its capability table alone: no tool of the vendor is needed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from edgeseg.core.chip import VIEWS, Chip, OpFacts, OpLimits
from edgeseg.core.placement import CPU, OpPlacement

if TYPE_CHECKING:
    from collections.abc import Iterable

FLOAT16_MAX = 65504.0
ChipVerdict = Literal["whole", "partly", "none"]
IN_PLACE = (
    "relu",
    "relu6",
    "hardtanh",
    "hardswish",
    "hardsigmoid",
    "sigmoid",
    "silu",
    "gelu",
    "elu",
    "leaky_relu",
    "tanh",
)
WITH_NUMBERS = ("add", "sub", "mul", "div")
_REST = "runs behind {op}, which the chip lacks: the compiler maps nothing after it"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedOp:
    """One op of the net: `placement` says where it would run and why; `layer` is its module, `instead` the advice."""

    placement: OpPlacement
    layer: str
    instead: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChipCheck:
    """A net against a chip.

    `verdict` is "whole" if every op runs on the accelerator and the memory suffices, "none" if nothing would run
    there, "partly" otherwise; it is as good as the `evidence` of the chip's table, of which only the facts `verified`
    were compared with documents. `memory_kib` is the predicted peak,
    at the op `memory_at`, and `available_kib` what the chip has (0: no limit is known). `advice` says what to change,
    most helpful first.
    """

    model: str
    target: str
    chip: str
    source: str
    dated: str
    evidence: str
    verified: tuple[str, ...]
    size: tuple[int, int]
    ops: tuple[CheckedOp, ...]
    memory_kib: float
    memory_at: str
    available_kib: int
    verdict: ChipVerdict
    reason: str
    advice: tuple[str, ...]

    @property
    def on_chip(self) -> int:
        """How many ops would run on the accelerator."""
        return sum(item.placement.unit != CPU for item in self.ops)


def place_ops(chip: Chip, facts: Iterable[OpFacts]) -> tuple[CheckedOp, ...]:
    """Return where each op would run."""
    checked: list[CheckedOp] = []
    blocked = ""
    for item in facts:
        reason, instead = _fault(chip, item)
        if blocked and not reason:
            reason, instead = _REST.format(op=blocked), ""
        elif reason and chip.prefix_only and not blocked:
            blocked = item.op
        placement = OpPlacement(
            op=item.op,
            node=item.node,
            unit=CPU if reason else chip.unit,
            dtype="float16" if chip.float16 else f"int{chip.bits}",
            reason=reason,
        )
        checked.append(CheckedOp(placement=placement, layer=item.layer, instead=instead))
    return tuple(checked)


def lacking(chip: Chip, facts: Iterable[OpFacts]) -> tuple[OpFacts, ...]:
    """Return the ops that a chip does not run, without those that merely come after one."""
    return tuple(item for item in facts if _fault(chip, item)[0])


def judge_chip(
    chip: Chip, ops: tuple[CheckedOp, ...], *, memory_kib: float, available_kib: int
) -> tuple[ChipVerdict, str]:
    """Return the verdict on a checked net, and the reason if it is not whole."""
    left = [item for item in ops if item.placement.unit == CPU]
    too_large = bool(available_kib) and memory_kib > available_kib
    if left and chip.elsewhere == "refused":
        names = ", ".join(dict.fromkeys(item.placement.op for item in left))
        return "none", f"{chip.title} runs whole nets only, and lacks: {names}."
    if too_large and chip.overflow == "refused":
        return "none", f"needs {memory_kib:.0f} KiB; {chip.title} has {available_kib} KiB and nothing beside it."
    if ops and len(left) == len(ops):
        return "none", f"{chip.title} has none of its ops."
    if left:
        return "partly", f"{len(left)} of {len(ops)} ops run on the CPU."
    if too_large:
        return "partly", (
            f"needs {memory_kib:.0f} KiB at once, more than the {available_kib} KiB of fast memory: the rest goes to "
            "slower memory, or the compiler computes in stripes."
        )
    return "whole", ""


def advice(
    chip: Chip, ops: tuple[CheckedOp, ...], *, memory_kib: float, available_kib: int, memory_at: str
) -> list[str]:
    """Return what to change, the advice that concerns the most ops first."""
    counted = Counter((item.placement.op, item.instead) for item in ops if item.instead)
    found = [f"{op} ({count} x): {text}" for (op, text), count in counted.most_common()]
    if available_kib and memory_kib > available_kib:
        share = (available_kib / memory_kib) ** 0.5
        found.append(
            f"memory: the peak is at {memory_at}. Choose a smaller --size (about {share:.2f} of each side), or a net "
            "that is narrower where its feature maps are large (edgeseg compress)."
        )
    return found


def _fault(chip: Chip, op: OpFacts) -> tuple[str, str]:
    """Return why an op does not run on a chip and what to do instead; empty if it runs there."""
    limits = chip.limits.get(op.op)
    known = op.op in chip.ops or limits is not None
    if not known:
        kind = "only moves values, which the chip cannot" if op.op in VIEWS else "the chip has no such op"
        return f"{chip.title}: {kind}", chip.instead.get(op.op, "")
    for given in (chip.every, limits):
        broken = _broken(given, op) if given is not None else ""
        if broken:
            assert given is not None
            return f"{broken}{f' ({given.why})' if given.why else ''}", given.instead or chip.instead.get(op.op, "")
    if op.op in chip.in_float:
        return "the int8 file leaves it in float, which the chip does not compute", chip.instead.get(op.op, "")
    if chip.numbers_in_float and op.op in WITH_NUMBERS and len(op.shapes) == 1:
        return "a sum or product with a number, which the int8 file leaves in float", ""
    if chip.float16 and op.peak is not None and op.peak > FLOAT16_MAX:
        return (
            f"a value of {op.peak:.3g} overflows float16 (largest: {FLOAT16_MAX:g})",
            "Scale the layer's weights and batch norm down, clip with ReLU6, or keep the layer in float32",
        )
    return "", ""


def _broken(limits: OpLimits, op: OpFacts) -> str:
    """Return which limit an op breaks, empty for none."""
    shapes = (*op.shapes, op.output)
    data = (op.shapes[0], op.output)
    rank = max(map(len, shapes))
    if limits.max_rank and rank > limits.max_rank:
        return f"a tensor has {rank} dimensions, of {limits.max_rank} at most"
    largest = max((size for shape in data for size in shape), default=1)
    stride = max(op.stride, default=0)
    depthwise_stride = stride if 1 < op.groups == _channels(op.shapes[0]) else 0
    checks = (
        ("a side of {0} is longer than {1}", largest, limits.max_size),
        ("{0} channels are more than {1}", max(_channels(shape) for shape in data), limits.max_channels),
        ("a kernel side of {0} is longer than {1}", max(op.kernel, default=0), limits.max_kernel),
        ("a kernel of {0} cells is larger than {1}", _area(op.kernel), limits.max_area),
        ("{0} cells in one value are more than {1}", op.reduced, limits.max_reduced),
        ("{0} cells in a plane are more than {1}", max(map(_plane, data)), limits.max_plane),
        ("a stride of {0} is larger than {1}", stride, limits.max_stride),
        ("a depthwise stride of {0} is larger than {1}", depthwise_stride, limits.max_depthwise_stride),
        ("a stride of {0} with padding is larger than {1}", stride if any(op.padding) else 0, limits.max_padded_stride),
        ("a dilation of {0} is larger than {1}", max(op.dilation, default=0), limits.max_dilation),
    )
    for text, value, most in checks:
        if most and value > most:
            return text.format(value, most)
    if limits.spatial_only and op.over_channels:
        return "it reduces channels, where it can be height and width"
    if limits.strides and any(stride not in limits.strides for stride in op.stride):
        return f"a stride of {max(op.stride)}, where it can be {_listed(limits.strides)}"
    return _resize(limits, op) or _grouping(limits, op)


def _resize(limits: OpLimits, op: OpFacts) -> str:
    if not op.factors or op.shapes[0][2:] in ((1, 1), op.output[2:]):
        return ""
    shown = " x ".join(f"{factor:g}" for factor in op.factors)
    if limits.equal_factors and len(set(op.factors)) > 1:
        return f"it resizes by {shown}, which differs between the sides"
    if limits.align_corners != "any" and op.align_corners is not (limits.align_corners == "always"):
        return f"it resizes with align_corners = {op.align_corners}"
    checks = (
        (f"where it can be {_listed(limits.factors)}", not limits.factors or set(op.factors) <= set(limits.factors)),
        (f"where {limits.max_factor:g} is the most", not limits.max_factor or max(op.factors) <= limits.max_factor),
        ("which is no power of two", not limits.whole_factors or all(map(_is_power_of_two, op.factors))),
    )
    fault = next((text for text, holds in checks if not holds), "")
    return f"it resizes by {shown}, {fault}" if fault else ""


def _grouping(limits: OpLimits, op: OpFacts) -> str:
    if limits.groups == "any" or op.groups == 1:
        return ""
    channels = _channels(op.shapes[0])
    if limits.groups == "depthwise" and op.groups == channels:
        return ""
    return f"a convolution of {channels} channels in {op.groups} groups"


def _channels(shape: tuple[int, ...]) -> int:
    return shape[1] if len(shape) == 4 else shape[-1] if shape else 1


def _plane(shape: tuple[int, ...]) -> int:
    return shape[2] * shape[3] if len(shape) == 4 else 0


def _area(kernel: tuple[int, ...]) -> int:
    return kernel[0] * kernel[-1] if kernel else 0


def _listed(values: Iterable[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _is_power_of_two(factor: float) -> bool:
    import math

    return bool(factor == 2 ** round(math.log2(factor)))
