"""`ExportedModel`, the input of every converter, and `Conversion`, its result."""

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
from edgeseg.core.quantization_rules import DEFAULT_RULES, QuantizationRules
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
"""File names of the parts of an exported model that take seconds to write: each is written when it is first read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Description:
    schema: int
    spec: ModelSpec
    scheme: QuantizationScheme
    input: TensorSpec
    output: TensorSpec
    preprocess: Preprocess
    versions: dict[str, str]
    rules: QuantizationRules = DEFAULT_RULES


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedModel:
    """A deployment graph as a folder that any process can open, with preprocessing and head, batch norms folded.

    exported.json       this description: spec, scheme, tensors, preprocess, versions, rules
    program.pt2         the `torch.export` program from `input` to `output`, in float or with quantize/dequantize pairs
    folded.pt2          the same with weights stored as integers; missing in float, where both are one
    model.onnx          the ONNX file of the folded program, where a converter reads it
    ranges.json         the ranges of a scheme that needs them
    calibration.npz     "images" (N, H, W, 3) uint8, input tensors in the model's colour order, if available
    golden.png          the golden image at the input's size; golden_output.npy is the float net's output for it

    The exporting process keeps programs in memory and writes a part when it is first read from disk. `preprocess`
    belongs to `input`: with `in_graph = False` the host normalises.
    """

    folder: Path
    spec: ModelSpec
    scheme: QuantizationScheme
    input: TensorSpec
    output: TensorSpec
    preprocess: Preprocess
    versions: dict[str, str] = field(default_factory=dict)
    rules: QuantizationRules = DEFAULT_RULES
    loaded: dict[Part, object] = field(default_factory=dict, repr=False, compare=False)
    writers: dict[Part, Callable[[Path], None]] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def open(cls, folder: Path | str) -> ExportedModel:
        """Return the exported model in a folder; large parts are read later.

        Raises:
            ConversionError: the folder holds no exported model, or one of another schema.
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
        """Return the `ExportedProgram` with float weights, followed by quantize/dequantize pairs where quantized."""
        return self._program("program")

    def folded_program(self) -> Any:
        """Return the program whose quantized weights are stored as integers; in float, the same as `program`."""
        in_memory = "folded" in self.loaded or "folded" in self.writers
        return self._program("folded" if in_memory or (self.folder / PART_FILES["folded"]).is_file() else "program")

    @property
    def onnx(self) -> Path:
        """Return the path of the ONNX file; raises `ConversionError` if it was not exported."""
        return self.write("onnx")

    def ranges(self) -> Ranges | None:
        """Return the activation ranges of the scheme, None for a scheme without ranges."""
        path = self.folder / RANGES_FILE
        return read_ranges(path) if path.is_file() else None

    def calibration_images(self) -> NDArray[np.uint8]:
        """Return calibration images (N, H, W, 3), uint8 in the model's colour order; N is 0 if there are none."""
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
        """Return the file of a part, written now if it is not on disk yet.

        Raises:
            ConversionError: the part is missing and cannot be created by this process.
        """
        path = self.folder / PART_FILES[part]
        if not path.is_file():
            if part not in self.writers:
                raise ConversionError(f"{path}: missing from the exported model. Export the model again.")
            self.writers[part](path)
        return path

    def write_all(self, parts: tuple[Part, ...]) -> None:
        """Write the parts that another process will read; parts that this model does not have are skipped."""
        for part in parts:
            if part in self.writers:
                self.write(part)

    def as_scheme(self, scheme: QuantizationScheme, *, folder: Path) -> ExportedModel:
        """Return the same graph in another folder, for a scheme that converters derive from it, such as fp16."""
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
    # Imported by name: the device side imports this package and must not depend on torch.
    torch = import_module("torch")
    if quantized:
        import_module("torchao.quantization.pt2e")  # registers the quantize/dequantize ops
    try:
        return torch.export.load(path)
    except Exception as error:  # torch raises many kinds of error for a damaged file
        raise ConversionError(f"{path}: cannot be read as a torch program: {type(error).__name__}: {error}") from error


def _link(source: str, target: str) -> None:
    """Hard-link a file, or copy it where the file system has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """What a converter or compiler wrote into its folder; a tool in a vendor's environment returns it as JSON.

    `entry` is the file or folder that the engine opens, and `files` lists what belongs beside it, both relative to the
    folder. `preprocess` is the artifact's own: with `in_graph = False` the host normalises, whatever the checkpoint's
    spec says. `ops` lists the computing ops with their placement. `provable_by` names the engines that can run the
    result, best first; one may be a vendor's simulator or our reference evaluator (`Engine.proof`). Without any, a
    compiled artifact has proof level "source" at best, and a converted one "none".
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
