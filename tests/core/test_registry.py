"""Plug-ins come by entry point; a broken one says why and stops nobody."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from edgeseg.core import registry
from edgeseg.core.protocols import Engine
from edgeseg.errors import MissingDependency, UnknownName


def test_our_own_are_there() -> None:
    assert {"tflite", "onnx", "openvino", "coreml", "executorch"} <= set(registry.names("converters"))
    assert {"fast_scnn", "lraspp_mobilenet_v3_small"} <= set(registry.names("models"))


def test_a_typo_gets_the_nearest_name() -> None:
    with pytest.raises(UnknownName, match=r'Unknown converter "tflight"\. Did you mean "tflite"'):
        registry.load_plugin("converters", "tflight")


def test_a_broken_plugin_is_listed_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    points = {
        "broken": EntryPoint(name="broken", value="no_such_module_anywhere:X", group="edgeseg.converters"),
        "good": EntryPoint(name="good", value="json:dumps", group="edgeseg.converters"),
    }
    monkeypatch.setattr(registry, "_points", lambda _group: points)
    broken, good = registry.load_all("converters")
    assert good.value is not None
    assert "no_such_module_anywhere" in broken.fault
    with pytest.raises(MissingDependency, match="no_such_module_anywhere"):
        registry.load_plugin("converters", "broken")


def test_a_plugin_of_another_kind_is_refused_with_the_protocol_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint(name="odd", value="json:dumps", group="edgeseg.engines")
    monkeypatch.setattr(registry, "_points", lambda _group: {"odd": point})
    with pytest.raises(
        MissingDependency, match=r'"odd" .* edgeseg\.engines.*lacks part of edgeseg.core.protocols.Engine'
    ):
        registry.load_as("engines", "odd", Engine)
