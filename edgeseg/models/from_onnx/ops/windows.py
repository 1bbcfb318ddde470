"""Kernel windows of convolutions and pooling: strides, dilations and the four paddings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeseg.models.from_onnx.tracing import Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """(height, width) of kernel, strides and dilations; padding before and after each axis."""

    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    before: tuple[int, int]
    after: tuple[int, int]

    @property
    def is_symmetric(self) -> bool:
        """Whether both ends of each axis have the same padding."""
        return self.before == self.after

    @property
    def extent(self) -> tuple[int, int]:
        """Pixels that the kernel spans, dilation included."""
        high, wide = (d * (k - 1) + 1 for d, k in zip(self.dilations, self.kernel, strict=True))
        return high, wide

    def torch_pads(self) -> list[int]:
        """Return the padding as `torch.nn.functional.pad` takes it: left, right, top, bottom."""
        return [self.before[1], self.after[1], self.before[0], self.after[0]]


def window_of(node: Node, *, kernel: tuple[int, ...]) -> Window:
    """Return the window of a node whose first input is (N, C, H, W).

    Raises:
        UnsupportedError: another number of axes, or an unknown padding rule.
    """
    sides = node.result(0).shape[2:]
    if len(kernel) != 2 or len(sides) != 2:
        raise node.refusal(f"a kernel of {len(kernel)} axes")
    strides, dilations = node.attribute("strides", (1, 1)), node.attribute("dilations", (1, 1))
    rule = node.attribute("auto_pad", "NOTSET")
    before, after = [0, 0], [0, 0]
    if rule == "NOTSET":
        pads = node.attribute("pads", (0, 0, 0, 0))
        before, after = list(pads[:2]), list(pads[2:])
    elif rule in ("SAME_UPPER", "SAME_LOWER"):
        for axis in range(2):
            cells = -(-sides[axis] // strides[axis])
            span = dilations[axis] * (kernel[axis] - 1) + 1
            whole = max(0, (cells - 1) * strides[axis] + span - sides[axis])
            less, more = whole // 2, whole - whole // 2
            before[axis], after[axis] = (less, more) if rule == "SAME_UPPER" else (more, less)
    elif rule != "VALID":
        raise node.refusal(f'auto_pad "{rule}"')
    return Window(
        kernel=(kernel[0], kernel[1]),
        strides=(strides[0], strides[1]),
        dilations=(dilations[0], dilations[1]),
        before=(before[0], before[1]),
        after=(after[0], after[1]),
    )
