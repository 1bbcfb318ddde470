"""TFLite metadata: names, normalisation and classes inside the file, where Android's and MediaPipe's libraries look.

The layout is that of TFLite's `metadata_schema.fbs` (identifier M001) and MediaPipe's `ImageSegmenterOptions` (V001).
The class names are a text file in a zip archive behind the flatbuffer, which interpreters ignore.
"""

from __future__ import annotations

import io
import json
import zipfile
from typing import TYPE_CHECKING, Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeseg.core.records import encode_record
from edgeseg.core.version import VERSION

if TYPE_CHECKING:
    from edgeseg.converters.tflite.flatbuffer import TFLiteModel
    from edgeseg.core.exported import ExportedModel

LABELS_FILE = "labels.txt"
_BUFFER = "TFLITE_METADATA"
_AXIS_LABELS, _RGB, _FEATURES, _IMAGE, _NORMALISATION, _SOFTMAX = 2, 1, 1, 2, 1, 2
_FIRST_DAY = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip archive can hold: the same file each time."""


def describe(model: TFLiteModel, exported: ExportedModel) -> None:
    """Store the description of an exported model in its flatbuffer, in place."""
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(_metadata(exported), np.uint8)
    model.tree.buffers.append(buffer)
    entry = schema.MetadataT()
    entry.name, entry.buffer = _BUFFER, len(model.tree.buffers) - 1
    model.tree.metadata = [*(model.tree.metadata or []), entry]
    model.tree.description = exported.spec.name


def with_labels(data: bytes, classes: tuple[str, ...]) -> bytes:
    """Return a flatbuffer with the archive that holds its class names, one a line."""
    file = io.BytesIO(data)
    with zipfile.ZipFile(file, mode="a") as archive:
        archive.writestr(zipfile.ZipInfo(LABELS_FILE, date_time=_FIRST_DAY), "".join(f"{name}\n" for name in classes))
    return file.getvalue()


def _metadata(exported: ExportedModel) -> bytes:
    builder = flatbuffers.Builder(1024)
    spec = exported.spec
    preprocess = encode_record(exported.preprocess)
    details = {"palette": spec.palette, "preprocess": preprocess, "output_stride": spec.output_stride}
    custom = [
        _custom(builder, "SEGMENTER_METADATA", _segmenter_options()),
        _custom(builder, "edgeseg", json.dumps(details, sort_keys=True).encode()),
    ]
    graph = _table(
        builder,
        10,
        {
            2: _vector(builder, [_input(builder, exported)]),
            3: _vector(builder, [_output(builder, exported)]),
            9: _vector(builder, custom),
        },
    )
    summary = f"{spec.name}: semantic segmentation into {len(spec.classes)} classes, {exported.scheme.name}."
    root = _table(
        builder,
        8,
        {
            0: builder.CreateString(spec.name),
            1: builder.CreateString(f"{summary} {spec.notice}".strip()),
            2: builder.CreateString(VERSION),
            3: _vector(builder, [graph]),
            4: builder.CreateString("edgeseg"),
            5: builder.CreateString(spec.licence),
            7: builder.CreateString("1.0.0"),
        },
    )
    builder.Finish(root, file_identifier=b"M001")
    return bytes(builder.Output())


def _input(builder: Any, exported: ExportedModel) -> int:
    preprocess = exported.preprocess
    properties = _table(builder, 2, {}, small={0: _RGB if preprocess.color_order == "rgb" else 0})
    content = _table(builder, 3, {1: properties}, small={0: _IMAGE})
    slots = {0: builder.CreateString(exported.input.name), 3: content}
    # In units of bytes, as these libraries know it: normalised = (byte - mean) / std.
    factor = 1.0 if preprocess.in_graph else preprocess.scale
    mean = (0.0,) if preprocess.in_graph else preprocess.mean
    std = (1.0,) if preprocess.in_graph else preprocess.std
    numbers = [builder.CreateNumpyVector(np.array(values, np.float32) / np.float32(factor)) for values in (mean, std)]
    options = _table(builder, 2, dict(enumerate(numbers)))
    slots[4] = _vector(builder, [_table(builder, 2, {1: options}, small={0: _NORMALISATION})])
    return _table(builder, 7, slots)


def _output(builder: Any, exported: ExportedModel) -> int:
    content = _table(builder, 3, {1: _table(builder, 0, {})}, small={0: _FEATURES})
    slots = {0: builder.CreateString(exported.output.name), 3: content}
    names = _table(builder, 5, {0: builder.CreateString(LABELS_FILE)}, small={2: _AXIS_LABELS})
    slots[6] = _vector(builder, [names])
    return _table(builder, 7, slots)


def _segmenter_options() -> bytes:
    builder = flatbuffers.Builder(64)
    builder.Finish(_table(builder, 2, {}, small={0: _SOFTMAX}), file_identifier=b"V001")
    return bytes(builder.Output())


def _custom(builder: Any, name: str, data: bytes) -> int:
    padded = np.frombuffer(data, np.uint8)
    builder.StartVector(1, len(padded), 16)
    builder.head -= len(padded)
    builder.Bytes[builder.head : builder.head + len(padded)] = data
    stored = builder.EndVector()
    return _table(builder, 2, {0: builder.CreateString(name), 1: stored})


def _vector(builder: Any, offsets: list[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())


def _table(builder: Any, fields: int, offsets: dict[int, int], *, small: dict[int, int] | None = None) -> int:
    """Return a table with `offsets` to what was written before, and one-byte numbers, by the fields' places."""
    builder.StartObject(fields)
    for slot, offset in offsets.items():
        builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
    for slot, number in (small or {}).items():
        builder.PrependInt8Slot(slot, number, 0)
    return int(builder.EndObject())
