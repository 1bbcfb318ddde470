"""One metric value, as used in records, tables and gates."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Better = Literal["higher", "lower"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricValue:
    """A metric's value with its unit, and whether a higher or a lower one is better.

    The unit "fraction" means 0 to 1, shown as percent. `per_class` has None for a class without a value, which does not
    count in the mean; `note` says so ("over 2 of 3 classes").
    """

    value: float | None
    unit: str = "fraction"
    better: Better = "higher"
    per_class: dict[str, float | None] | None = None
    note: str = ""

    def __post_init__(self) -> None:
        for name, value in (("value", self.value), *(self.per_class or {}).items()):
            if value is None:
                continue
            if not math.isfinite(value):
                raise ValueError(f"{name} is {value}; a metric is a finite number.")
            if self.unit == "fraction" and not 0 <= value <= 1:
                raise ValueError(f"{name} is {value:g}; a fraction is 0 to 1.")


def mean_over_classes(values: dict[str, float | None], *, better: Better = "higher") -> MetricValue:
    """Return the mean over the classes that have a value; a note lists the others.

    >>> mean_over_classes({"road": 0.75, "car": 0.25, "sky": None}).value
    0.5
    """
    known = [value for value in values.values() if value is not None]
    left_out = [name for name, value in values.items() if value is None]
    note = ""
    if left_out:
        note = f"over {len(known)} of {len(values)} classes; without {', '.join(left_out)}"
    # Rounding may lift a mean of ones slightly above one.
    mean = min(1.0, sum(known) / len(known)) if known else None
    return MetricValue(value=mean, better=better, per_class=values, note=note)


def metric_title(name: str) -> str:
    """Return a metric's name for display.

    >>> metric_title("calibration_error")
    'calibration error'
    """
    words = {"miou": "mIoU", "dice": "Dice", "f1": "F1", "iou": "IoU"}
    return " ".join(words.get(word, word) for word in name.split("_"))
