"""`OpPlacement`: the unit of a device that runs an op, its precision, and the reason for a fallback."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class OpPlacement:
    """One computing op of a converted or compiled graph.

    `unit` runs it ("cpu", "npu", "gpu", or a kernel library such as "xnnpack"); `dtype` is the type it computes in
    ("int8", "float32"); both are empty if the tool does not report them. `reason` says why the op was not quantized or
    not placed on the accelerator, and is empty if it was.
    """

    op: str
    node: str
    unit: str
    dtype: str = ""
    reason: str = ""

    @property
    def is_quantized(self) -> bool:
        """Whether the op computes with integers."""
        return self.dtype.lstrip("u").startswith("int")
