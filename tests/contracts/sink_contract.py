"""What every kind of sink must do."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from contracts import tiny_artifact as tiny

from edgeseg.core import registry
from edgeseg.errors import EdgesegError
from edgeseg.runtime import SinkContext, SinkKind, View
from edgeseg.runtime.sinks.hud import Hud
from edgeseg.runtime.sinks.opening import open_sinks, wanted

if TYPE_CHECKING:
    from pathlib import Path

    from edgeseg.core.spec import ModelSpec


class SinkContract:
    """Subclass with a registered name and an argument, which may name a file in `folder`; `wrong` is refused."""

    name = ""
    wrong = ""

    def argument(self, folder: Path) -> str:
        raise AssertionError("a subclass names its argument")

    @pytest.fixture
    def spec(self, tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
        return tiny.make_artifact(tmp_path_factory.mktemp("sink") / "artifact").manifest.spec

    @pytest.fixture
    def context(self, spec: ModelSpec) -> SinkContext:
        return SinkContext(
            spec=spec, title="tiny", fps=10, live=False, force=False, notify=lambda _text: None, trouble=lambda: ""
        )

    def test_it_is_registered_and_says_what_it_is(self, tmp_path: Path) -> None:
        kind = registry.load_plugin("sinks", self.name)
        assert isinstance(kind, SinkKind)
        assert isinstance(kind.drawn, bool)
        kind.check(self.argument(tmp_path), force=False)
        written = kind.writes(self.argument(tmp_path))
        assert written is None or tmp_path in written.parents

    def test_a_wrong_argument_is_one_clear_line(self) -> None:
        kind = registry.load_plugin("sinks", self.name)
        assert isinstance(kind, SinkKind)
        with pytest.raises(EdgesegError) as caught:
            kind.check(self.wrong, force=False)
        assert "\n" not in str(caught.value)

    def test_views_are_taken_and_nothing_stays_behind(self, tmp_path: Path, context: SinkContext) -> None:
        threads = threading.active_count()
        (sink,) = open_sinks(wanted([f"{self.name}:{self.argument(tmp_path)}"]), context)
        with sink:
            assert all(sink.write(view(index)) for index in range(3))
        assert threading.active_count() == threads
        written = wanted([self.name])[0].kind.writes(self.argument(tmp_path))
        assert written is None or written.exists()
        assert not list(tmp_path.glob(".*partial*"))


def view(index: int) -> View:
    """Return a small view of a recorded video."""
    image = tiny.image(tiny.SIZE, seed=index)
    return View(
        index=index,
        image=image,
        labels=(image[:, :, 0] // 64).astype(np.uint8),
        captured_s=time.monotonic(),
        media_s=index / 10,
        frame=image,
        hud=Hud(title="tiny", fps=10.0, stages_ms={}),
    )
