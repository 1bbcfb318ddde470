"""Which unit of a device runs an op, in which precision, and why not in a better one: `OpPlacement`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class OpPlacement:
    """One computing op of a converted or compiled graph.

    `unit` is what runs it ("cpu", "npu", "gpu", or a kernel library such as "xnnpack"), `dtype` the type that it
    computes in ("int8", "float32"), empty where the tool does not say. `reason` tells why the op was not quantized, or
    not taken by the accelerator; it is empty where the op is as wanted.
    """

    op: str
    node: str
    unit: str
    dtype: str = ""
    reason: str = ""

    @property
    def is_quantized(self) -> bool:
        """Whether the op computes on integers."""
        return self.dtype.lstrip("u").startswith("int")
