"""The latency of single layers on an engine: `LayerShape`, `LayerTime`, `LatencyTable`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerShape:
    """A convolution (a linear layer counts as kernel 1 on one cell) and its input map, (height, width) in cells.

    `activation` is the class name of the activation after it, "" for none: engines fuse the two.
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
        """Whether each channel has its own filter."""
        return self.groups > 1 and self.groups == self.inputs == self.outputs

    @property
    def out_cells(self) -> tuple[int, int]:
        """(height, width) of the output map, assuming "same" padding."""
        return -(-self.cells[0] // self.stride[0]), -(-self.cells[1] // self.stride[1])

    @property
    def macs(self) -> int:
        """Multiply-accumulates per image."""
        high, width = self.out_cells
        return high * width * self.kernel[0] * self.kernel[1] * (self.inputs // self.groups) * self.outputs


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerTime:
    """The median time of one layer alone on an engine, in milliseconds."""

    shape: LayerShape
    ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyTable:
    """Layers timed one by one on `engine` with `threads`, for a latency model of whole nets.

    Times are interpolated between the measured widths of an otherwise equal layer: bilinearly over input and output
    channels, linearly for depthwise layers. `machine` names the machine; the times are valid only there.
    """

    engine: str
    threads: int
    machine: str
    times: tuple[LayerTime, ...]
