"""Small recipes that train in a second, for the tests of this room."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from edgeseg.core.records import decode_record
from edgeseg.data import Sample
from edgeseg.train import Recipe

if TYPE_CHECKING:
    from pathlib import Path

SIZE = (64, 96)


def recipe(**tables: object) -> Recipe:
    """Return a recipe on a handful of small synthetic streets; `tables` replace or extend its own."""
    base: dict[str, dict[str, object]] = {
        "model": {"name": "fast_scnn", "size": list(SIZE)},
        "data": {"train": "streets:12", "val": "streets:4"},
        "loss": {"stride": 3},
        "schedule": {"epochs": 2, "warmup_epochs": 0.5},
        "run": {"batch": 4, "tensorboard": False, "seed": 3},
    }
    for name, table in tables.items():
        assert isinstance(table, dict)
        base[name] = {**base.get(name, {}), **table}
    return decode_record(Recipe, {"schema": 1, "name": "small", **base}, where="small")


def metrics(out: Path) -> list[dict[str, object]]:
    """Return the lines of a run's metrics.jsonl, without the wall times."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


class Noise:
    """A data set of `count` noise images in two classes, without any rendering."""

    classes = ("dark", "light")
    ignore_index = 255
    name = "noise"
    split = "train"
    licence = "Apache-2.0"

    def __init__(self, *, count: int, size: tuple[int, int]) -> None:
        self.count, self.size = count, size

    def __len__(self) -> int:
        return self.count

    def item_id(self, index: int) -> str:
        return f"noise-{index}"

    def load(self, index: int) -> Sample:
        image = np.random.default_rng(index).integers(0, 256, (*self.size, 3), dtype=np.uint8)
        return Sample(id=self.item_id(index), image=image, labels=(image[:, :, 0] > 127).astype(np.uint8))
