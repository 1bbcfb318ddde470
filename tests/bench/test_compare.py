"""Side by side, and gates."""

from __future__ import annotations

import dataclasses

import pytest
from bench.measured import DEVICE, measurement, scores, several

from edgeseg.bench import check_gate, compare, parse_gate
from edgeseg.errors import EdgesegError, GateError, InputError, UnknownName


def test_each_is_held_against_fp32_on_its_own_engine() -> None:
    comparison = compare(several())
    labels = [row.label for row in comparison.rows]
    assert labels == ["TFLite fp32", "TFLite int8", "ONNX fp32", "ONNX int8", "Core ML fp32"]
    assert [row.baseline for row in comparison.rows] == [labels[0], labels[0], labels[2], labels[2], labels[4]]
    assert comparison.rows[1].speed_up == pytest.approx(8.1 / 5.3)
    assert comparison.rows[3].speed_up == pytest.approx(9.2 / 8.7)
    assert comparison.rows[1].miou_drop == pytest.approx(0.005)
    assert comparison.rows[4].speed_up is None
    assert comparison.warnings == ()


def test_one_baseline_for_all() -> None:
    comparison = compare(several(), baseline="fast_scnn-onnx-fp32")
    assert comparison.baseline == "ONNX fp32"
    assert comparison.rows[1].speed_up == pytest.approx(9.2 / 5.3)
    with pytest.raises(UnknownName, match=r'Did you mean "fast_scnn-onnx-fp32"'):
        compare(several(), baseline="fast_scn-onnx-fp32")
    twice = [*several(), measurement(threads=4)]
    with pytest.raises(InputError, match=r"was measured 2 times. Say which: .*litert-2t, .*litert-4t"):
        compare(twice, baseline="fast_scnn-tflite-fp32")
    assert compare(twice, baseline="fast_scnn-tflite-fp32-litert-4t").baseline == "TFLite fp32 4T"


def test_a_model_as_baseline_is_its_float_on_each_engine() -> None:
    small = dataclasses.replace(measurement(precision="int8", infer_ms=2.0, miou=0.638), model="fast_scnn-half")
    comparison = compare([*several(), small], baseline="fast_scnn")
    assert comparison.baseline == "fp32 of fast_scnn on the same engine"
    assert comparison.rows[-1].speed_up == pytest.approx(8.1 / 3.6)
    assert comparison.rows[-1].miou_drop == pytest.approx(0.002)
    assert compare([*several(), small]).rows[-1].speed_up is None
    with pytest.raises(UnknownName, match=r'Did you mean "fast_scnn-half"'):
        compare([*several(), small], baseline="fast_scnn-hal")


def test_the_front_holds_what_none_beats() -> None:
    assert [row.on_front for row in compare(several()).rows] == [True, True, False, False, False]


def test_labels_tell_rows_apart_by_what_differs() -> None:
    models = compare([measurement(), measurement(model="lraspp")]).rows
    assert [row.label for row in models] == ["TFLite fp32 fast_scnn", "TFLite fp32 lraspp"]
    same = compare([measurement(), measurement()]).rows
    assert [row.label for row in same] == ["TFLite fp32 #1", "TFLite fp32 #2"]


def test_unlike_measurements_are_warned_of() -> None:
    other = dataclasses.replace(DEVICE, name="Jetson Orin Nano", throttled=True, load_average=9.0)
    rest = dataclasses.replace(measurement(device=other, threads=4), accuracy=scores(0.6, images=10))
    text = "\n".join(compare([measurement(), rest]).warnings)
    assert "different devices: Raspberry Pi 5 (Arm Cortex-A76); Jetson Orin Nano (Arm Cortex-A76)" in text
    assert "different numbers of threads: 2; 4" in text
    assert "different images for accuracy: camvid val, 101 images; camvid val, 10 images" in text
    assert "throttled" in text
    assert "busy (load average 9.0)" in text


def test_accuracy_on_other_images_gives_no_drop() -> None:
    other = dataclasses.replace(measurement(precision="int8"), accuracy=scores(0.6, split="test"))
    assert compare([measurement(), other]).rows[1].miou_drop is None


def test_an_emulated_device_has_no_latency() -> None:
    comparison = compare([measurement(device=dataclasses.replace(DEVICE, emulated=True))])
    row = comparison.rows[0]
    assert (row.p50_ms, row.p99_ms, row.speed_up, row.on_front) == (None, None, None, False)
    assert "emulated" in comparison.warnings[0]
    with pytest.raises(GateError, match="an emulated device's time means nothing"):
        check_gate("p50_ms<=1000", [row.measurement])


def test_nothing_to_compare_is_refused() -> None:
    with pytest.raises(InputError, match="No measurement"):
        compare([])


def test_a_gate_that_holds_and_one_that_lists_what_does_not() -> None:
    check_gate("miou>=60, p99_ms<=40, size_mb < 2,speed_up>=1,miou_drop<=1", several())
    with pytest.raises(GateError) as caught:
        check_gate("miou>=63.4,p50_ms<=8.5", several())
    assert caught.value.exit_status == 3
    assert str(caught.value).splitlines()[1:] == [
        "  ONNX fp32: p50_ms is 9.2, <=8.5 is asked",
        "  ONNX int8: miou is 63.3, >=63.4 is asked",
        "  ONNX int8: p50_ms is 8.7, <=8.5 is asked",
    ]


def test_what_was_not_measured_does_not_hold() -> None:
    with pytest.raises(GateError, match=r"agreement>=99 cannot be told: not measured"):
        check_gate("agreement>=99", [measurement()])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("moiu>=60", r'Unknown metric in the gate "moiu". Did you mean "miou"'),
        ("miou>=0.6", r"miou is in percent. Write miou>=60"),
        ("miou=60", r'"miou=60" is no rule'),
        ("miou>=60,", r'"" is no rule'),
        ("miou>=sixty", r"is no rule"),
    ],
)
def test_a_gate_that_is_none_is_refused(text: str, message: str) -> None:
    with pytest.raises(EdgesegError, match=message):
        parse_gate(text)


def test_a_missing_baseline_is_said() -> None:
    comparison = compare([measurement(precision="int8"), measurement(precision="fp16")])
    assert [row.speed_up for row in comparison.rows] == [None, None]
    assert "No speed-up for TFLite int8, TFLite fp16: no fp32 artifact" in comparison.warnings[-1]
    assert compare(several()).warnings == ()
