"""What the export room hands to the converters: `ExportedModel`, and what they hand back: `Conversion`."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from edgeseg.core.artifact import ConversionReport
from edgeseg.core.files import read_json, write_json
from edgeseg.core.placement import OpPlacement
from edgeseg.core.quantization import RANGES_FILE, QuantizationScheme, Ranges, read_ranges
from edgeseg.core.spec import ModelSpec, Preprocess, TensorSpec
from edgeseg.errors import ConversionError, EdgesegError

if TYPE_CHECKING:
    from numpy.typing import NDArray

EXPORTED_FILE = "exported.json"
EXPORTED_SCHEMA = 1
GOLDEN_IMAGE, GOLDEN_OUTPUT = "golden.png", "golden_output.npy"

Part = Literal["program", "folded", "onnx", "calibration"]
PART_FILES: dict[Part, str] = {
    "program": "program.pt2",
    "folded": "folded.pt2",
    "onnx": "model.onnx",
    "calibration": "calibration.npz",
}
"""Where the parts of an exported model lie that take seconds to write: they are written when somebody reads them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Description:
    schema: int
    spec: ModelSpec
    scheme: QuantizationScheme
    input: TensorSpec
    output: TensorSpec
    preprocess: Preprocess
    versions: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedModel:
    """A deployment graph as a folder that any process can open: preprocessing and head included, batch norms folded.

    exported.json       this description: spec, scheme, tensors, preprocess, versions
    program.pt2         the `torch.export` program from `input` to `output`, in float or with quantize/dequantize pairs
    folded.pt2          the same with weights stored as integers; missing in float, where both are one
    model.onnx          the ONNX file of the folded program, where a converter reads it
    ranges.json         the ranges of a scheme that needs them
    calibration.npz     "images" (N, H, W, 3) uint8, input tensors in the model's colour order, where they are at hand
    golden.png          the golden image at the input's size; golden_output.npy is the float net's output for it

    In the process that exported it, programs are kept in memory, and a part is written when it is first read from disk.
    `preprocess` is that of `input`: with `in_graph = False` the host normalises.
    """

    folder: Path
    spec: ModelSpec
    scheme: QuantizationScheme
    input: TensorSpec
    output: TensorSpec
    preprocess: Preprocess
    versions: dict[str, str] = field(default_factory=dict)
    loaded: dict[Part, object] = field(default_factory=dict, repr=False, compare=False)
    writers: dict[Part, Callable[[Path], None]] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def open(cls, folder: Path | str) -> ExportedModel:
        """Return the exported model in a folder; nothing heavy is read yet.

        Raises:
            ConversionError: the folder holds none, or one of another schema.
        """
        folder = Path(folder)
        try:
            found = read_json(_Description, folder / EXPORTED_FILE)
        except EdgesegError as error:
            raise ConversionError(f"{folder}: not an exported model: {error}") from None
        if found.schema != EXPORTED_SCHEMA:
            raise ConversionError(
                f"{folder}: exported-model schema {found.schema}; this edgeseg reads {EXPORTED_SCHEMA}."
            )
        values = {item.name: getattr(found, item.name) for item in dataclasses.fields(found) if item.name != "schema"}
        return cls(folder=folder, **values)

    def program(self) -> Any:
        """Return the `ExportedProgram` whose weights are float, behind quantize/dequantize pairs where quantized."""
        return self._program("program")

    def folded_program(self) -> Any:
        """Return the program whose quantized weights are stored as integers; in float, the same as `program`."""
        in_memory = "folded" in self.loaded or "folded" in self.writers
        return self._program("folded" if in_memory or (self.folder / PART_FILES["folded"]).is_file() else "program")

    @property
    def onnx(self) -> Path:
        """The ONNX file; raises `ConversionError` where it was not exported."""
        return self.write("onnx")

    def ranges(self) -> Ranges | None:
        """Return the ranges that the scheme was made with, None for a scheme without."""
        path = self.folder / RANGES_FILE
        return read_ranges(path) if path.is_file() else None

    def calibration_images(self) -> NDArray[np.uint8]:
        """Return calibration images (N, H, W, 3), uint8 in the model's colour order; N is 0 where none are at hand."""
        if "calibration" not in self.writers and not (self.folder / PART_FILES["calibration"]).is_file():
            return np.zeros((0, *self.spec.size, 3), np.uint8)
        with np.load(self.write("calibration"), allow_pickle=False) as stored:
            return np.asarray(stored["images"], np.uint8)

    def golden_image(self) -> NDArray[np.uint8]:
        """Return the golden image at the input's size, (H, W, 3) uint8 BGR."""
        cv2 = import_module("cv2")
        image = cv2.imread(str(self.folder / GOLDEN_IMAGE), cv2.IMREAD_COLOR)
        if image is None:
            raise ConversionError(f"{self.folder / GOLDEN_IMAGE}: cannot be read. Export the model again.")
        return np.asarray(image, np.uint8)

    def golden_output(self) -> NDArray[Any]:
        """Return the float net's output for the golden image, in the layout of `output`."""
        return np.asarray(np.load(self.folder / GOLDEN_OUTPUT, allow_pickle=False))

    def write(self, part: Part) -> Path:
        """Return the file of a part, written where it is not on disk yet.

        Raises:
            ConversionError: the folder lacks it, and it cannot be made here.
        """
        path = self.folder / PART_FILES[part]
        if not path.is_file():
            if part not in self.writers:
                raise ConversionError(f"{path}: missing from the exported model. Export the model again.")
            self.writers[part](path)
        return path

    def write_all(self, parts: tuple[Part, ...]) -> None:
        """Write the parts that another process is to read; one that this model does not have is left out."""
        for part in parts:
            if part in self.writers:
                self.write(part)

    def as_scheme(self, scheme: QuantizationScheme, *, folder: Path) -> ExportedModel:
        """Return the same graph for a scheme that converters derive from it, such as fp16, in a folder of its own."""
        shutil.copytree(self.folder, folder, ignore=shutil.ignore_patterns(EXPORTED_FILE), copy_function=_link)
        other = dataclasses.replace(self, folder=folder, scheme=scheme)
        other.describe()
        return other

    def describe(self) -> None:
        """Write exported.json."""
        names = [item.name for item in dataclasses.fields(_Description) if item.name != "schema"]
        values = {name: getattr(self, name) for name in names}
        write_json(_Description(schema=EXPORTED_SCHEMA, **values), self.folder / EXPORTED_FILE)

    def _program(self, part: Part) -> object:
        if part not in self.loaded:
            self.loaded[part] = _read_program(self.write(part), quantized=self.scheme.needs_ranges)
        return self.loaded[part]


def _read_program(path: Path, *, quantized: bool) -> object:
    # By name: the device side imports this module's neighbours, and must not depend on torch.
    torch = import_module("torch")
    if quantized:
        import_module("torchao.quantization.pt2e")  # it registers the ops of quantize/dequantize pairs
    try:
        return torch.export.load(path)
    except Exception as error:  # torch raises Python's own errors of every kind for a damaged file
        raise ConversionError(f"{path}: cannot be read as a torch program: {type(error).__name__}: {error}") from error


def _link(source: str, target: str) -> None:
    """Link a file, or copy it where the file system has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """What a converter or compiler wrote into the folder it was given; a vendor's environment answers with it in JSON.

    `entry` is what the engine opens, and `files` what must lie beside it, both relative to the folder. `preprocess` is
    the artifact's own: with `in_graph = False` the host normalises, whatever the checkpoint's spec says. `ops` is the
    census of the computing ops, with placement. `provable_by` names the engines that can run the result, best first;
    an engine may be a vendor's simulator or our reference evaluator (`Engine.proof`). Without one, a compiled artifact
    is proven by its source at best, and a converted one not at all.
    """

    entry: str
    files: tuple[str, ...] = ()
    input: TensorSpec
    output: TensorSpec
    scheme: QuantizationScheme
    preprocess: Preprocess
    ops: tuple[OpPlacement, ...]
    provable_by: tuple[str, ...]
    report: ConversionReport
