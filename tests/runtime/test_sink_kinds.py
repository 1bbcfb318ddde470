"""Every kind of sink keeps the contract, and another package's works through `--sink`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from contracts import tiny_artifact as tiny
from contracts.sink_contract import SinkContract

from edgeseg.core import registry
from edgeseg.runtime import window_fault
from edgeseg.verbs.run import Outputs, run_loop

if TYPE_CHECKING:
    from pathlib import Path

    from edgeseg.runtime import Sink, SinkContext, View


class TestVideo(SinkContract):
    name, wrong = "video", "out.mpg"

    def argument(self, folder: Path) -> str:
        return str(folder / "out.mp4")


class TestLabels(SinkContract):
    name, wrong = "labels", ""

    def argument(self, folder: Path) -> str:
        return str(folder / "labels")


class TestAreas(SinkContract):
    name, wrong = "areas", "."

    def argument(self, folder: Path) -> str:
        return str(folder / "areas.jsonl")


class TestWeb(SinkContract):
    name, wrong = "web", "nowhere:port"

    def argument(self, folder: Path) -> str:
        return "127.0.0.1:0"


@pytest.mark.skipif(window_fault() is not None, reason="no display here, or a headless OpenCV")
class TestWindow(SinkContract):
    name, wrong = "window", "large"

    def argument(self, folder: Path) -> str:
        return ""


class CountKind:
    """What a stranger's package would register: it counts frames into a file."""

    drawn = False

    def check(self, argument: str, *, force: bool) -> None:
        return None

    def writes(self, argument: str) -> Path | None:
        return None

    def sink(self, argument: str, context: SinkContext) -> Sink:
        return CountSink(argument, classes=context.spec.classes)


class CountSink:
    seen: tuple[str, int, tuple[str, ...]] = ("", 0, ())

    def __init__(self, argument: str, *, classes: tuple[str, ...]) -> None:
        self.argument, self.classes, self.count = argument, classes, 0

    def __enter__(self) -> CountSink:
        return self

    def write(self, view: View) -> bool:
        self.count += 1
        return True

    def __exit__(self, *_: object) -> None:
        CountSink.seen = (self.argument, self.count, self.classes)


def test_another_packages_sink_works_through_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load = registry.load_plugin
    monkeypatch.setattr(
        registry,
        "load_plugin",
        lambda group, name: CountKind() if (group, name) == ("sinks", "count") else load(group, name),
    )
    artifact = tiny.make_artifact(tmp_path / "artifact")
    run_loop(
        artifact.folder,
        source="synthetic?size=48x64",
        outputs=Outputs(sinks=("count:here:there",)),
        frames=2,
        threads=1,
    )
    assert CountSink.seen == ("here:there", 2, tiny.CLASSES)
