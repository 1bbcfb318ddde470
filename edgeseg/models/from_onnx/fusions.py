"""Re-fuses what exporters decompose: the exact GELU."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edgeseg.models.from_onnx.plan import OnnxStep


def fuse_gelu(steps: Iterable[OnnxStep]) -> tuple[OnnxStep, ...]:
    """Return the steps with 0.5 x (1 + erf(x / sqrt 2)), in either order of its products, as one step "gelu".

    Unused steps remain; the caller removes them.
    """
    steps = tuple(steps)
    by_name = {step.name: step for step in steps}
    return tuple(_fused(step, by_name) for step in steps)


def _fused(step: OnnxStep, steps: dict[str, OnnxStep]) -> OnnxStep:
    if step.kind != "mul":
        return step
    source = None
    if _number(step) == 0.5 and (product := steps.get(step.inputs[0])) is not None and _number(product) is None:
        source = _of_product(product, product.inputs, steps)
    elif len(step.inputs) == 2:
        for half, other in (step.inputs, step.inputs[::-1]):
            halved = steps.get(half)
            if halved is not None and halved.kind == "mul" and _number(halved) == 0.5:
                source = source or _of_product(step, (halved.inputs[0], other), steps)
    if source is None:
        return step
    return dataclasses.replace(
        step, kind="gelu", inputs=(source,), settings=json.dumps({"approximate": "none"}), operands=()
    )


def _of_product(product: OnnxStep, factors: tuple[str, ...], steps: dict[str, OnnxStep]) -> str | None:
    """Return x where a product's factors are x and 1 + erf(x / sqrt 2)."""
    if product.kind != "mul" or len(factors) != 2:
        return None
    for x, other in (factors, factors[::-1]):
        added = steps.get(other)
        erf = None if added is None or added.kind != "add" or _number(added) != 1 else steps.get(added.inputs[0])
        scaled = None if erf is None or erf.kind != "erf" else steps.get(erf.inputs[0])
        if scaled is None or scaled.inputs != (x,):
            continue
        factor = _number(scaled)
        wanted = {"div": math.sqrt(2), "mul": math.sqrt(0.5)}.get(scaled.kind)
        if factor is not None and wanted is not None and abs(factor - wanted) < 1e-4:
            return x
    return None


def _number(step: OnnxStep) -> float | None:
    """Return the number that a step adds, multiplies or divides by, or None for a tensor."""
    value = step.values().get("other") if len(step.inputs) == 1 and not step.operands else None
    return None if value is None else float(value)
