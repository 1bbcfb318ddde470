"""`spec.toml`: a user's description of a net or model file that edgeseg did not make."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgeseg.core.file_io import FileRules
from edgeseg.core.files import read_toml
from edgeseg.core.palette import voc_colour
from edgeseg.core.spec import Argument, ModelSpec, NetOutput, Preprocess, TensorSpec

if TYPE_CHECKING:
    from pathlib import Path

_SCHEMA = 1
SPEC_FILE = "spec.toml"
MOST_CLASSES = 255
"""More do not fit into label maps of one byte a pixel."""
GUESSED = "# guessed, check it"
"""The comment behind each value that a drafted spec file guesses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecFile:
    """The keys of a spec.toml. `classes` are names or their number, `size` is (height, width) of the input in pixels.

    `palette` has one colour (R, G, B) per class; the default is Pascal VOC's colour map. `arguments` are keyword
    arguments of the net's factory. `output` is read for nets, `file` for model files.
    """

    schema: int
    classes: tuple[str, ...] | int
    size: tuple[int, int]
    name: str = ""
    palette: tuple[tuple[int, int, int], ...] = ()
    ignore_index: int = 255
    preprocess: Preprocess = field(default_factory=Preprocess)
    output: NetOutput = field(default_factory=NetOutput)
    file: FileRules = field(default_factory=FileRules)
    arguments: dict[str, Argument] = field(default_factory=dict, hash=False)
    licence: str = "not stated"
    notice: str = ""

    def __post_init__(self) -> None:
        if self.schema != _SCHEMA:
            raise ValueError(f"schema is {self.schema}; this version reads schema = {_SCHEMA}.")
        names = self.class_names
        if not names:
            raise ValueError("classes is empty; at least two classes are needed.")
        if len(names) == 1:
            raise ValueError(
                f'classes has only "{names[0]}": name what is not {names[0]} as well, first, as in '
                f'["background", "{names[0]}"]. A net with one output channel gives these two.'
            )
        if len(names) > MOST_CLASSES:
            raise ValueError(
                f"classes has {len(names)}: at most {MOST_CLASSES} fit into label maps of one byte a pixel, where one "
                "value is left for pixels that do not count."
            )
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ValueError(f'classes: "{doubled[0]}" is listed twice.')
        if not 0 <= self.ignore_index <= 255:
            raise ValueError(
                f"ignore_index = {self.ignore_index}: give 0 to 255, the value in label maps of the pixels that do not "
                "count, whatever index the loss of the training ignored."
            )
        if min(self.size) < 1:
            raise ValueError(f"size = {list(self.size)}: height and width in pixels must be 1 or more.")
        if self.palette and len(self.palette) != len(names):
            raise ValueError(f"palette has {len(self.palette)} colours for {len(names)} classes.")
        if any(not 0 <= value <= 255 for colour in self.palette for value in colour):
            raise ValueError("palette: red, green and blue are from 0 to 255.")

    @property
    def class_names(self) -> tuple[str, ...]:
        """The class names; "class 0", "class 1", ... if only their number is given."""
        if isinstance(self.classes, int):
            return tuple(f"class {index}" for index in range(self.classes))
        return self.classes

    def model_spec(self, *, architecture: str, output_stride: int) -> ModelSpec:
        """Return the spec of a net that is not saved yet, its logits at `output_stride`."""
        names = self.class_names
        height, width = self.size
        cells = (height // output_stride, width // output_stride)
        image = TensorSpec(name="image", shape=(1, 3, height, width), dtype="float32", layout="NCHW", role="image")
        logits = TensorSpec(name="logits", shape=(1, len(names), *cells), dtype="float32", layout="NCHW", role="logits")
        return ModelSpec(
            name=self.name or architecture.rpartition(":")[2],
            architecture=architecture,
            classes=names,
            palette=self.palette or tuple(voc_colour(index + 1) for index in range(len(names))),
            ignore_index=self.ignore_index,
            inputs=(image,),
            outputs=(logits,),
            preprocess=self.preprocess,
            output_stride=output_stride,
            weights_sha256="",
            licence=self.licence,
            notice=self.notice,
            arguments=self.arguments,
            output=self.output,
        )


def read_spec_file(path: Path) -> SpecFile:
    """Return the content of a spec.toml.

    Raises:
        InputError: no such file.
        RecipeError: not TOML, or not the schema; the message names the file and the key.
    """
    return read_toml(SpecFile, path)
