"""What layers cost on an engine: `LayerShape`, `LayerTime`, `LatencyTable`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerShape:
    """A convolution (a linear layer is one of kernel 1 on one cell) with the map it reads, (height, width) in cells.

    `activation` is the class name of the pointwise function behind it, "" for none: engines run both as one.
    """

    inputs: int
    outputs: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    cells: tuple[int, int]
    activation: str = ""

    @property
    def is_depthwise(self) -> bool:
        """Whether each channel is filtered alone."""
        return self.groups > 1 and self.groups == self.inputs == self.outputs

    @property
    def out_cells(self) -> tuple[int, int]:
        """(height, width) of the output map; padding keeps the map's size but for the stride."""
        return -(-self.cells[0] // self.stride[0]), -(-self.cells[1] // self.stride[1])

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image."""
        high, width = self.out_cells
        return high * width * self.kernel[0] * self.kernel[1] * (self.inputs // self.groups) * self.outputs


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerTime:
    """The median time of one layer alone on an engine, in milliseconds."""

    shape: LayerShape
    ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyTable:
    """Layers timed one by one on an engine, `engine`, with `threads`; the base of a latency model of a whole net.

    Times are interpolated between measured widths of a layer that is otherwise the same: bilinearly in inputs and
    outputs, linearly for depthwise ones. `machine` says where the times come from; they hold nowhere else.
    """

    engine: str
    threads: int
    machine: str
    times: tuple[LayerTime, ...]
