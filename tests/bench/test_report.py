"""The page: whole, self-contained, and legible."""

from __future__ import annotations

import dataclasses
import html
import itertools
import random
import re
import shlex
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from bench.measured import DEVICE, measurement, scores, several, stages
from contracts.tiny_artifact import make_artifact

from edgeseg.bench import ReportImage, compare, read_measurements, render_report, write_report
from edgeseg.bench.report.charts import accuracy_axis, latency_axis, pareto_plot
from edgeseg.bench.report.colours import colours_of
from edgeseg.bench.report.placing import Box, place_labels
from edgeseg.bench.report.repeat import repeat_commands
from edgeseg.bench.report.sections import class_table, stage_bars
from edgeseg.cli.main import main, parser
from edgeseg.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

_VOID = {"meta", "br", "img"}


class Balance(HTMLParser):
    """Checks that what is opened is closed, and collects the text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def text_of(page: str) -> str:
    parser = Balance()
    parser.feed(page)
    assert parser.open == []
    return " ".join(" ".join(parser.text).split())


def test_the_page_tells_everything_that_was_measured() -> None:
    text = text_of(render_report(compare(several())))
    for told in (
        "fast_scnn on Raspberry Pi 5", "tflite int8", "1.53\N{MULTIPLICATION SIGN}", "\N{MINUS SIGN}0.50", "99.10",
        "Arm Cortex-A76", "46 → 61 °C", "unavailable", "200 after 20 warm-up", "xnnpack = on", "CC-BY-NC-SA-4.0",
        "Trained on <CamVid>: not for commercial use.", "edgeseg train --recipe fast_scnn-camvid",
        "edgeseg convert fast_scnn --target tflite --precision int8 --size 352x480",
        "edgeseg compare results --html report.html",
        "camvid val, 101 images", "pixel accuracy", "boundary F1", "mil-reference",
    ):  # fmt: skip
        assert told in text, told


def test_the_page_needs_nothing_else() -> None:
    png = cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1].tobytes()
    page = render_report(compare(several()), images=[ReportImage(caption="a street", png=png)])
    assert not re.search(r"https?://|<script|<link|@import|url\(", page)
    assert page.count('src="data:image/png;base64,') == 1
    assert "prefers-color-scheme: dark" in page


def test_text_from_files_cannot_become_markup() -> None:
    page = render_report(compare([measurement(model="<b>x</b>")]), title="a < b")
    assert "<b>" not in page
    assert "artifacts/<b>x</b>-tflite-fp32" in text_of(page)
    assert "<h1>a &lt; b</h1>" in page


def test_parts_without_figures_are_left_out() -> None:
    text = text_of(render_report(compare([measurement(miou=None)])))
    assert "Accuracy by class" not in text
    assert "Accuracy against latency" not in text
    assert "Where the time goes" in text
    only_scored = text_of(render_report(compare([measurement(infer_ms=None, engine="mil-reference")])))
    assert "Where the time goes" not in only_scored
    assert "Accuracy by class" in only_scored


def test_scores_on_other_data_show_no_change() -> None:
    other = dataclasses.replace(measurement(precision="int8"), accuracy=scores(0.4, images=10))
    alike = measurement(precision="int8", miou=0.4)
    assert "<small" in class_table(compare([measurement(), alike]))
    assert "<small" not in class_table(compare([measurement(), other], mixed=("data",)))


def test_times_below_the_clocks_step_are_drawn() -> None:
    none = tuple(dataclasses.replace(item, p50_ms=0.0, p90_ms=0.0, p99_ms=0.0, mean_ms=0.0, min_ms=0.0)
                 for item in measurement().latency)  # fmt: skip
    found = compare([dataclasses.replace(measurement(), latency=none, fps=0.0), measurement(precision="int8")])
    assert "<figure" in stage_bars(found.rows[:1])
    assert latency_axis([0.0, 5.0], start=0, end=100).ticks


def test_the_report_is_written_where_asked(tmp_path: Path) -> None:
    path = write_report(compare(several()), tmp_path / "new" / "report.html")
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    with pytest.raises(InputError, match="cannot be written"):
        write_report(compare(several()), tmp_path)
    with pytest.raises(InputError, match='"a street" is not a PNG'):
        write_report(compare(several()), path, images=[ReportImage(caption="a street", png=b"JFIF")])


@pytest.mark.parametrize("width", [360, 900])
def test_the_plot_is_valid_and_names_every_point(width: int) -> None:
    rows = compare(several()).rows
    drawn = ET.fromstring(pareto_plot(rows, width=width, height=400, colours=colours_of(rows)))
    names = [element.text for element in drawn.iter("text")]
    assert {"tflite fp32", "tflite int8", "onnx fp32", "onnx int8"} <= set(names)
    assert "coreml fp32" not in names  # it was not timed


def test_each_device_has_its_own_colour_and_front() -> None:
    other = dataclasses.replace(DEVICE, name="Jetson Orin")
    quick = [measurement(infer_ms=4, miou=0.6, device=other), measurement(infer_ms=2, miou=0.5, device=other)]
    rows = compare([*quick, measurement(infer_ms=40, miou=0.6), measurement(infer_ms=20, miou=0.5)]).rows
    colours = colours_of(rows)
    assert colours.names == ("Jetson Orin", DEVICE.name)
    svg = pareto_plot(rows, width=900, height=400, colours=colours)
    assert re.findall(r'class="(front c\d)"', svg) == ["front c0", "front c1"], "one line each, none joins the two"
    assert sorted(re.findall(r'class="point best (c\d)"', svg)) == ["c0", "c0", "c1", "c1"]
    assert not colours_of(rows[:2]).by_device


def test_names_that_do_not_fit_become_numbers_with_a_list() -> None:
    many = [measurement(model=f"lraspp_mobilenet_v3_small_{i}", infer_ms=6 + i / 9, miou=0.6) for i in range(16)]
    rows = compare(many).rows
    svg, _, names = pareto_plot(rows, width=360, height=400, colours=colours_of(rows)).partition("<ol")
    assert {"1", "16"} <= {element.text for element in ET.fromstring(svg).iter("text")}
    assert names.count("<li>") == 16
    assert "lraspp_mobilenet_v3_small_15" in names


@pytest.mark.parametrize("seed", range(4))
def test_labels_stay_inside_and_apart(seed: int) -> None:
    draw = random.Random(seed)
    frame = Box(46, 14, 892, 376)
    points = [(draw.uniform(60, 880), draw.uniform(150, 240)) for _ in range(16)]
    boxes = place_labels(points, [f"OpenVINO int8 net{i}" for i in range(16)], frame=frame, font_px=13, radius=6)
    assert all(frame.holds(box) for box in boxes)
    assert not any(a.meets(b) for a, b in itertools.combinations(boxes, 2))
    marks = [Box(x - 6, y - 6, x + 6, y + 6) for x, y in points]
    assert not any(mark.meets(box) for mark in marks for box in boxes)


def test_equal_points_still_get_labels_of_their_own() -> None:
    boxes = place_labels([(200, 200)] * 5, ["TFLite fp32"] * 5, frame=Box(0, 0, 400, 400), font_px=13, radius=6)
    assert not any(a.meets(b) for a, b in itertools.combinations(boxes, 2))


@pytest.mark.parametrize("values", [[5.0], [3.0, 3.1], [3.0, 9.0], [0.2, 150.0], [1.0, 10.0]])
def test_the_latency_axis_holds_its_values_and_ticks(values: list[float]) -> None:
    axis = latency_axis(values, start=0, end=100)
    assert all(0 < axis(value) < 100 for value in values)
    assert len(axis.ticks) >= 3
    assert all(-1e-9 <= axis(tick) <= 100 + 1e-9 for tick in axis.ticks)


@pytest.mark.parametrize("values", [[0.5], [0.64, 0.6401], [0.0, 1.0], [0.2, 0.7]])
def test_the_accuracy_axis_does_not_blow_up_noise(values: list[float]) -> None:
    axis = accuracy_axis(values, start=100, end=0)
    assert axis.high - axis.low >= 0.02
    assert all(0 <= axis(value) <= 100 for value in values)


def test_every_command_of_how_to_repeat_this_is_one_that_edgeseg_takes() -> None:
    for comparison in (compare(several()), compare(several(), baseline="fast_scnn")):
        commands = [shlex.split(line) for line in repeat_commands(comparison) if not line.startswith("#")]
        assert [words[1] for words in commands] == ["convert"] * 5 + ["bench", "compare"]
        for words in commands:
            assert words[0] == "edgeseg"
            parser().parse_args(words[1:])
        made = {words[words.index("--out") + 1] for words in commands[:5]}
        measured = {word for word in commands[5] if word.startswith("artifacts/")}
        assert made == measured


def test_how_to_repeat_this_works_as_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_artifact(tmp_path / "artifacts" / "tiny-onnx", file_format="onnx")
    first = ["bench", "artifacts/tiny-onnx", "--runs", "3", "--warmup", "1", "--threads", "1", "--out", "first"]
    assert main([*first, "--device-name", "my [b] nuc"]) == 0
    page = render_report(compare(read_measurements(["first"])))
    printed = re.search(r"How to repeat this.*?<code>(.*?)</code>", page, re.DOTALL)
    assert printed is not None
    for line in html.unescape(printed[1]).splitlines():
        words = shlex.split(line)
        if words[1] != "convert":  # the tiny artifact has no checkpoint
            assert main(words[1:]) == 0, line
    assert (tmp_path / "report.html").exists()
    (repeated,) = read_measurements(["results"])
    assert (repeated.device.name, repeated.threads, repeated.latency[0].runs) == ("my [b] nuc", 1, 3)


def test_a_page_says_too_few_runs_and_draws_p99_marks_only_where_they_are() -> None:
    few = [dataclasses.replace(item, latency=stages(6.5, runs=20), fps=123.46) for item in several()[:1]]
    page = render_report(compare(few))
    assert "too few runs" in page
    assert 'class="tick" style' not in page


def test_int8_and_the_smaller_net_have_tiles_of_their_own() -> None:
    small = [
        measurement(model="small", infer_ms=3.0, miou=0.60),
        measurement(model="small", precision="int8", infer_ms=2.0, miou=0.59),
    ]
    text = text_of(render_report(compare([measurement(), *small], baseline="fast_scnn")))
    assert "int8 alone, at worst" in text
    assert "\N{MINUS SIGN}1.00" in text
    assert "The smaller net alone" in text
    assert "\N{MINUS SIGN}4.00" in text


def test_two_devices_have_their_own_tiles_and_a_device_column() -> None:
    jetson = dataclasses.replace(DEVICE, name="Jetson [/b] Orin")
    text = text_of(render_report(compare([measurement(), measurement(device=jetson, infer_ms=2.4)])))
    assert "Fastest on Raspberry Pi 5" in text
    assert "Fastest on Jetson [/b] Orin" in text
    assert "device" in text


def test_medians_of_zero_make_a_page_too() -> None:
    zero = tuple(dataclasses.replace(item, min_ms=0.0, p50_ms=0.0) for item in stages(6.5))
    rows = [dataclasses.replace(measurement(precision=name), latency=zero, fps=0.0) for name in ("fp32", "int8")]
    assert "<svg" in render_report(compare(rows))
