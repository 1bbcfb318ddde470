"""The pruning budget in multiply-accumulates, parameters or milliseconds, and how each is counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from edgeseg.compress.prune.latency_model import LatencyModel
from edgeseg.core.latency import LatencyTable, LayerShape
from edgeseg.errors import InputError

Unit = Literal["macs", "parameters", "ms"]
PriceOf = Callable[[LayerShape], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Exactly one of: the share of MACs or of parameters to keep, in (0, 1], or milliseconds on an engine."""

    macs: float | None = None
    parameters: float | None = None
    ms: float | None = None

    def __post_init__(self) -> None:
        given = [value for value in (self.macs, self.parameters, self.ms) if value is not None]
        if len(given) != 1:
            raise InputError("A pruning budget is one of macs, parameters (shares that stay) or ms. Give exactly one.")
        if self.ms is None and not 0 < given[0] <= 1:
            raise InputError(f"A pruning budget of {given[0]} {self.unit}: give the share to keep, above 0 to 1.")
        if not given[0] > 0:
            raise InputError(f"A pruning budget of {given[0]} ms: give more than 0.")

    @property
    def unit(self) -> Unit:
        """The unit of the budget."""
        return "macs" if self.macs is not None else "parameters" if self.parameters is not None else "ms"

    @property
    def amount(self) -> float:
        """The share to keep, or the milliseconds."""
        return next(value for value in (self.macs, self.parameters, self.ms) if value is not None)


def price_of(unit: Unit, table: LatencyTable | None) -> PriceOf:
    """Return the function that counts one layer in a unit.

    Raises:
        InputError: milliseconds without a table.
    """
    if unit == "macs":
        return _macs
    if unit == "parameters":
        return _parameters
    if table is None:
        raise InputError("A budget in ms needs a latency table of the engine. Build one, or give a share of MACs.")
    return LatencyModel(table).layer_ms


def _macs(shape: LayerShape) -> float:
    return float(shape.macs)


def _parameters(shape: LayerShape) -> float:
    # Batch norm parameters or a bias: a small part that only has to scale with the outputs.
    return float(shape.kernel[0] * shape.kernel[1] * (shape.inputs // shape.groups) * shape.outputs + 2 * shape.outputs)
