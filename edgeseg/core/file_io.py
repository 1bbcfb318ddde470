"""A foreign model file's own tensors, and how its output becomes logits or labels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from edgeseg.core.records import bounds
from edgeseg.core.spec import DType

Values = Literal["logits", "probabilities", "labels"]
"""What a file's output holds: logits, the result of a softmax or sigmoid, or class ids."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRules:
    """The `[file]` table of a spec.toml: what cannot be read from a foreign model file.

    `output` names the output to use where there are several; the others are ignored. `layout` and `input_layout` are
    axes in order, such as "NHWC", "NCHW", "NHW" or "HW", for shapes that do not tell. `values` says what the output
    holds; the default follows from the file's last op. `ids` are the file's channel or class id of each class, in the
    order of `classes`: [1, 2, 3] where the ids begin at 1, or where channel 0 is a background that is not used.
    One channel means two classes: the second one where the probability is above `threshold`.
    """

    output: str = ""
    layout: str = ""
    input_layout: str = ""
    values: Literal["", "logits", "probabilities", "labels"] = ""
    ids: tuple[int, ...] = field(default=(), metadata=bounds(low=0, high=65535))
    threshold: float = field(default=0.5, metadata=bounds(above=0))

    def __post_init__(self) -> None:
        for name, text in (("layout", self.layout), ("input_layout", self.input_layout)):
            letters = set(text)
            if text and (len(letters) != len(text) or not {"H", "W"} <= letters <= set("NCHW")):
                raise ValueError(f'{name} = "{text}": give each of N, C, H, W at most once, such as "NHWC".')
        if not 0 < self.threshold < 1:
            raise ValueError(f"threshold = {self.threshold}: a probability between 0 and 1 is needed.")
        if len(set(self.ids)) != len(self.ids):
            raise ValueError("ids: the same id is listed twice.")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileTensor:
    """An input or output as stored in the file: its place among them, name, shape and type.

    real = scale * (stored - zero_point) for a quantized tensor.
    """

    position: int = field(metadata=bounds(low=0))
    name: str
    shape: tuple[int, ...]
    dtype: DType
    scale: float | None = field(default=None, metadata=bounds(above=0))
    zero_point: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileIO:
    """How a session talks to a foreign file: the file's tensors, and the way from its output to the manifest's.

    `layout` are the axes of `output`. `one_channel` means that the output has one value per pixel, for two classes.
    `ids` and `threshold` are those of `FileRules`; ids of no class become `unlisted`.
    """

    input: FileTensor
    output: FileTensor
    layout: str
    values: Values
    one_channel: bool = False
    ids: tuple[int, ...] = ()
    threshold: float = 0.5
    unlisted: int = field(default=255, metadata=bounds(low=0, high=255))
