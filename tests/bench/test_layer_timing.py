"""Any engine can time layers: it is recognised by the contract that it implements, not by its name."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgeseg.bench.layer_timing import time_layer, timing_engine
from edgeseg.core import registry
from edgeseg.core.protocols import EngineStatus, LayerTimingEngine
from edgeseg.errors import MissingDependency, UnknownName

IMAGE = np.zeros((1, 3, 8, 8), np.float32)


def engine(**others: object) -> SimpleNamespace:
    promised: dict[str, Any] = {
        "name": "theirs", "formats": ("theirs",), "extra": "", "proof": "engine", "delegates": ("cpu",), "choices": {},
        "layer_format": "onnx", "status": lambda: EngineStatus(available=True), "options": dict, "open": print,
        "layer_ms": lambda file, *, threads, image, runs: float(threads + runs),
    }  # fmt: skip
    return SimpleNamespace(**promised | others)


def test_an_engine_of_another_package_times_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "load_all", lambda _group: (registry.Plugin(name="theirs", value=engine()),))
    assert time_layer(Path("layer.onnx"), engine="theirs", threads=2, image=IMAGE, runs=5) == 7.0


def test_a_missing_library_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = engine(status=lambda: EngineStatus(available=False, reason="No theirs.", fix="pip install theirs"))
    monkeypatch.setattr(registry, "load_all", lambda _group: (registry.Plugin(name="theirs", value=absent),))
    with pytest.raises(MissingDependency, match=r"No theirs\. pip install theirs"):
        time_layer(Path("layer.onnx"), engine="theirs", threads=2, image=IMAGE)


def test_evaluators_and_engines_without_a_timer_are_refused_with_the_nearest_name() -> None:
    assert isinstance(timing_engine("onnxruntime"), LayerTimingEngine)
    for name in ("onnx-reference", "tflite-runtime", "onnxruntim"):
        with pytest.raises(UnknownName, match=r"engine for layer times .*onnxruntime"):
            timing_engine(name)
