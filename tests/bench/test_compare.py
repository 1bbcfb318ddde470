"""Side by side, and gates."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest
from bench.measured import DEVICE, measurement, scores, several, stages

from edgeseg.bench import check_gate, compare, parse_gate, write_measurement
from edgeseg.cli.compare import markdown
from edgeseg.cli.main import main
from edgeseg.core.metric_value import MetricValue
from edgeseg.errors import EdgesegError, GateError, InputError, UnknownName

if TYPE_CHECKING:
    from pathlib import Path

    from edgeseg.core.measurement import Measurement


def test_each_is_held_against_fp32_on_its_own_engine() -> None:
    comparison = compare(several())
    labels = [row.label for row in comparison.rows]
    assert labels == ["tflite fp32", "tflite int8", "onnx fp32", "onnx int8", "coreml fp32"]
    assert [row.baseline for row in comparison.rows] == [labels[0], labels[0], labels[2], labels[2], labels[4]]
    assert comparison.rows[1].speed_up == pytest.approx(8.1 / 5.3)
    assert comparison.rows[3].speed_up == pytest.approx(9.2 / 8.7)
    assert comparison.rows[1].miou_change == pytest.approx(-0.005)
    assert comparison.rows[4].speed_up is None
    assert comparison.warnings == ()


def test_one_baseline_for_all() -> None:
    comparison = compare(several(), baseline="fast_scnn-onnx-fp32")
    assert comparison.baseline == "onnx fp32"
    assert comparison.rows[1].speed_up == pytest.approx(9.2 / 5.3)
    with pytest.raises(UnknownName, match=r'Did you mean "fast_scnn-onnx-fp32"'):
        compare(several(), baseline="fast_scn-onnx-fp32")
    twice = [*several(), measurement(threads=4)]
    with pytest.raises(InputError, match=r"fits 2 runs. Say which: .*litert-2t, .*litert-4t"):
        compare(twice, baseline="fast_scnn-tflite-fp32")
    assert compare(twice, baseline="fast_scnn-tflite-fp32-litert-4t").baseline == "tflite fp32 4T"


def test_a_model_as_baseline_is_its_float_on_each_engine() -> None:
    small = dataclasses.replace(measurement(precision="int8", infer_ms=2.0, miou=0.638), model="fast_scnn-half")
    comparison = compare([*several(), small], baseline="fast_scnn")
    assert comparison.baseline == "fp32 of fast_scnn on the same device and engine"
    assert comparison.rows[-1].speed_up == pytest.approx(8.1 / 3.6)
    assert comparison.rows[-1].miou_change == pytest.approx(-0.002)
    assert compare([*several(), small]).rows[-1].speed_up is None
    with pytest.raises(UnknownName, match=r'Did you mean "fast_scnn-half"'):
        compare([*several(), small], baseline="fast_scnn-hal")


def test_the_front_holds_what_none_beats() -> None:
    assert [row.on_front for row in compare(several()).rows] == [True, True, False, False, False]


def test_labels_tell_rows_apart_by_what_differs() -> None:
    models = compare([measurement(), measurement(model="lraspp")]).rows
    assert [row.label for row in models] == ["tflite fp32 fast_scnn", "tflite fp32 lraspp"]
    same = compare([measurement(), measurement()]).rows
    assert [row.label for row in same] == ["tflite fp32 #1", "tflite fp32 #2"]


def test_unlike_measurements_are_warned_of() -> None:
    other = dataclasses.replace(DEVICE, name="Jetson Orin Nano", throttled=True, load_average=9.0)
    rest = dataclasses.replace(measurement(device=other, threads=4), accuracy=scores(0.6, images=10))
    text = "\n".join(compare([measurement(), rest], mixed=("data", "throttled")).warnings)
    assert "Different numbers of threads: 2, 4" in text
    assert "camvid val, 101 images, SHA-256 val101val101; camvid val, 10 images" in text
    assert "throttled" in text
    assert "busy (load average 9.0)" in text


def test_accuracy_on_other_images_gives_no_drop() -> None:
    other = dataclasses.replace(measurement(precision="int8"), accuracy=scores(0.6, split="test"))
    assert compare([measurement(), other], mixed=["data"]).rows[1].miou_change is None


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
    check_gate("miou>=60, p99_ms<=40, size_mb < 2,speed_up>=1,miou_change>=-1", several())
    with pytest.raises(GateError) as caught:
        check_gate("miou>=63.4,p50_ms<=8.5", several())
    assert caught.value.exit_status == 3
    assert str(caught.value).splitlines()[1:] == [
        "  onnx fp32: p50_ms is 9.2, required: <=8.5",
        "  onnx int8: miou is 63.3, required: >=63.4",
        "  onnx int8: p50_ms is 8.7, required: <=8.5",
    ]


def test_what_was_not_measured_does_not_hold() -> None:
    with pytest.raises(GateError, match=r"agreement>=99 cannot be checked: not measured"):
        check_gate("agreement>=99", [measurement()])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("moiu>=60", r'Unknown metric in the gate "moiu". Did you mean "miou"'),
        ("miou>=0.6", r"miou is in percent. Write miou>=60"),
        ("miou=60", r'"miou=60" is not a rule'),
        ("miou>=60,", r'"" is not a rule'),
        ("miou>=sixty", r"is not a rule"),
    ],
)
def test_a_text_that_is_not_a_gate_is_refused(text: str, message: str) -> None:
    with pytest.raises(EdgesegError, match=message):
        parse_gate(text, [measurement()])


def test_a_missing_baseline_is_said() -> None:
    comparison = compare([measurement(precision="int8"), measurement(precision="fp16")])
    assert [row.speed_up for row in comparison.rows] == [None, None]
    assert "No speed-up for tflite int8, tflite fp16: no fp32 artifact" in comparison.warnings[-1]
    assert compare(several()).warnings == ()


JETSON = dataclasses.replace(DEVICE, name="Jetson Orin", cpu="Arm Cortex-A78AE")


def two_devices() -> list[Measurement]:
    return [
        measurement(), measurement(precision="int8", infer_ms=3.7, miou=0.635),
        measurement(device=JETSON, infer_ms=2.4),
        measurement(device=JETSON, precision="int8", infer_ms=1.4, miou=0.634),
    ]  # fmt: skip


def test_each_device_has_its_own_baseline_front_and_best() -> None:
    comparison = compare(two_devices())
    assert [row.label for row in comparison.rows] == [
        "tflite fp32 on Raspberry Pi 5", "tflite int8 on Raspberry Pi 5", "tflite fp32 on Jetson Orin",
        "tflite int8 on Jetson Orin",
    ]  # fmt: skip
    assert comparison.rows[3].speed_up == pytest.approx(4.0 / 3.0)
    assert [row.on_front for row in comparison.rows] == [True] * 4
    assert [(best.device, best.fastest) for best in comparison.best] == [
        ("Raspberry Pi 5", "tflite int8 on Raspberry Pi 5"), ("Jetson Orin", "tflite int8 on Jetson Orin"),
    ]  # fmt: skip


def test_a_baseline_on_another_device_only_when_it_is_named_with_it() -> None:
    name = "fast_scnn-tflite-fp32"
    same = compare(two_devices(), baseline=name)
    assert [row.baseline for row in same.rows][2:] == ["tflite fp32 on Jetson Orin"] * 2
    across = compare(two_devices(), baseline=f"Raspberry Pi 5/{name}")
    assert across.rows[3].speed_up == pytest.approx(8.1 / 3.0)
    assert across.baseline == "tflite fp32 on Raspberry Pi 5"
    one_sided = compare([*two_devices()[:2], two_devices()[3]], baseline=name)
    assert one_sided.rows[2].speed_up is None
    assert "was not measured on Jetson Orin" in one_sided.warnings[-1]


def test_of_several_different_float_artifacts_none_is_taken_silently() -> None:
    other = dataclasses.replace(measurement(), artifact_sha256="cd" * 32, artifact="fast_scnn-tflite-fp32-again")
    int8 = dataclasses.replace(measurement(precision="int8", infer_ms=3.7), artifact_sha256="ef" * 32)
    comparison = compare([measurement(), other, int8])
    assert comparison.rows[2].speed_up is None
    assert "2 different fp32 artifacts" in comparison.warnings[0]


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"accuracy": scores(0.6, images=10)}, "accuracy.data_sha256"),
        ({"input_size": (192, 256)}, "input_size"),
        ({"image_size": (720, 1280)}, "image_size"),
        ({"device": dataclasses.replace(DEVICE, emulated=True)}, "device.emulated"),
        ({"device": dataclasses.replace(DEVICE, throttled=True)}, "device.throttled"),
    ],
)
def test_unlike_records_are_refused_with_the_field(changed: dict[str, object], field: str) -> None:
    other = dataclasses.replace(measurement(precision="int8"), **changed)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=rf"differ in {field}.*--mixed"):
        compare([measurement(), other])


def test_the_same_data_under_another_name_is_the_same_data() -> None:
    here = measurement()
    assert here.accuracy is not None
    there = dataclasses.replace(
        measurement(precision="int8", miou=0.63),
        accuracy=dataclasses.replace(scores(0.63), data="3fa9" * 16),
    )
    row = compare([here, there]).rows[1]
    assert row.miou_change == pytest.approx(-0.01)


def test_what_int8_costs_is_apart_from_what_a_smaller_net_costs() -> None:
    small = measurement(model="small", infer_ms=3.0, miou=0.60)
    small8 = measurement(model="small", precision="int8", infer_ms=2.0, miou=0.59)
    row = compare([measurement(), small, small8], baseline="fast_scnn").rows[2]
    assert row.miou_change == pytest.approx(-0.05)
    assert row.int8_change == pytest.approx(-0.01)


def test_a_gate_may_be_about_any_metric_in_the_records() -> None:
    accuracy = scores(0.64)
    extra = MetricValue(value=7.5, unit="px", better="lower")
    item = dataclasses.replace(
        measurement(), accuracy=dataclasses.replace(accuracy, metrics={**accuracy.metrics, "hausdorff": extra})
    )
    check_gate("hausdorff<=8", [item])
    with pytest.raises(GateError, match=r"hausdorff is 7.5, required: <=7"):
        check_gate("hausdorff<=7", [item])
    with pytest.raises(UnknownName, match='Did you mean "hausdorff"'):
        check_gate("hausdorf<=8", [item])


def test_no_p99_from_too_few_runs() -> None:
    few = dataclasses.replace(measurement(), latency=stages(6.5, runs=50))
    with pytest.raises(GateError, match="50 runs are too few for it, 200 required"):
        check_gate("p99_ms<=40", [few])


def test_a_narrow_terminal_leaves_out_the_least_wanted_columns(capsys: pytest.CaptureFixture[str]) -> None:
    from edgeseg.cli.compare import show_comparison

    nuc = dataclasses.replace(DEVICE, name="nuc [/b]")
    comparison = compare([measurement(device=nuc), measurement(device=JETSON, precision="int8", infer_ms=3.7)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgeseg.cli.render.WIDTH_IN_A_PIPE", 80)
        show_comparison(comparison)
    printed = capsys.readouterr()
    assert max(len(line) for line in printed.out.splitlines() if line.startswith(" ")) <= 80
    assert "nuc [/b]" in printed.out
    assert "mIoU %" in printed.out
    assert "Left out for lack of width: infer, MB, front" in printed.err


def test_a_gate_that_would_test_nothing_is_refused() -> None:
    reference = several()[-1]
    check_gate("p99_ms<=40", several())
    with pytest.raises(InputError, match=r'Gate "p99_ms<=40": .* mil-reference alone was measured'):
        check_gate("p99_ms<=40", [reference])
    check_gate("p99_ms<=40,miou>=60", [reference])


@pytest.mark.parametrize("form", ["--markdown", "--csv"])
def test_every_form_of_the_table_comes_with_its_warnings(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    busy = dataclasses.replace(measurement(), device=dataclasses.replace(DEVICE, load_average=40.0))
    write_measurement(busy, tmp_path)
    assert main(["compare", str(tmp_path), form]) == 0
    printed = capsys.readouterr()
    assert "The machine was busy (load average 40.0)" in printed.err
    assert "busy" not in printed.out


def test_a_markdown_table_survives_any_name() -> None:
    odd = dataclasses.replace(measurement(), device=dataclasses.replace(DEVICE, name="pi \\| five\n| six |"))
    lines = markdown(compare([odd, measurement(precision="int8")])).splitlines()
    assert len(lines) == 6
    assert lines[2].startswith("| tflite fp32 | pi \\\\\\| five \\| six \\| | litert 2T |")
    assert markdown(compare([measurement(precision="int8")])).splitlines()[-1].startswith("Side by side, without a")
