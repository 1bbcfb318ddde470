"""The demo takes every format that it can compare in float and in int8, and says which it leaves out and why."""

from __future__ import annotations

from edgeseg.verbs.demo import _usable_formats


def test_formats_without_float_or_without_int8_are_left_out_by_name() -> None:
    notes: list[str] = []
    usable = _usable_formats(notes.append)
    assert {"tflite", "onnx", "openvino"} <= set(usable)
    assert not {"ncnn", "htp-onnx"} & set(usable)
    assert "left out: ncnn has no int8" in notes
    assert "left out: ONNX for Qualcomm HTP has no fp32" in notes
