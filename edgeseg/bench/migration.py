"""Measurements of older schemas, converted to the current one before they are read."""

from __future__ import annotations

from edgeseg.core.measurement import LEAST_RUNS_FOR_P99
from edgeseg.core.parsing import shown
from edgeseg.errors import RecipeError

MEASUREMENT_SCHEMA = 2
_MIB_IN_MB = 2**20 / 1e6
_MEANS = (("miou", "per_class_iou"), ("mean_dice", "per_class_dice"), ("pixel_accuracy", ""), ("boundary_f1", ""))


def migrated_measurement(record: dict[str, object]) -> dict[str, object]:
    """Return a record in schema 2; raises `RecipeError` for a newer schema or none."""
    schema = record.get("schema")
    if schema == MEASUREMENT_SCHEMA:
        return record
    if schema != 1:
        raise RecipeError(
            f"schema {shown(schema)}; this edgeseg reads schemas 1 and {MEASUREMENT_SCHEMA}. "
            "Update edgeseg, or measure again."
        )
    return {
        **record,
        "schema": MEASUREMENT_SCHEMA,
        "latency": [_stage(item) for item in _list(record.get("latency"))],
        "accuracy": _accuracy(record.get("accuracy")),
        # Schema 1 counted 2^20 bytes as one MB.
        "peak_memory_mb": _in_mb(record.get("peak_memory_mb")),
        "device": _device(record.get("device")),
    }


def _stage(item: object) -> object:
    """Return a stage without a p99 from too few runs, which schema 1 still contained."""
    if not isinstance(item, dict):
        return item
    runs = item.get("runs")
    few = isinstance(runs, int) and runs < LEAST_RUNS_FOR_P99
    return {**item, "p99_ms": None} if few else item


def _accuracy(old: object) -> object:
    """Return scores as values by name; schema 1 had four of them as fields."""
    if not isinstance(old, dict) or "metrics" in old:
        return old
    metrics: dict[str, object] = {}
    for name, classes in _MEANS:
        if name not in old:
            continue
        per_class = old.get(classes) if classes else None
        metrics[name] = {"value": old[name], "per_class": per_class, "note": _note(per_class)}
    former = {name for pair in _MEANS for name in pair}
    return {**{key: value for key, value in old.items() if key not in former}, "metrics": metrics}


def _note(per_class: object) -> str:
    if not isinstance(per_class, dict):
        return ""
    left_out = [str(name) for name, value in per_class.items() if value is None]
    counted = len(per_class) - len(left_out)
    return f"over {counted} of {len(per_class)} classes; without {', '.join(left_out)}" if left_out else ""


def _device(old: object) -> object:
    if not isinstance(old, dict):
        return old
    memory = _in_mb(old.get("memory_mb"))
    return {**old, "memory_mb": round(memory) if isinstance(memory, float) else memory}


def _in_mb(value: object) -> object:
    return round(value * _MIB_IN_MB, 1) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
