"""What a model takes and returns: `TensorSpec`, `Preprocess`, `LayerChannels`, `NetOutput`, `ModelSpec`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from edgeseg.core.records import bounds

DType = Literal["uint8", "int8", "int32", "int64", "float16", "float32"]
Layout = Literal["NCHW", "NHWC", "NHW"]
Role = Literal["image", "logits", "labels"]

LARGEST_BYTE = 255
_BYTE_TOLERANCE = 1e-3
"""Tolerance, in pixel values, within which a mean counts as a whole byte."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """One input or output of a model or of an artifact.

    `scale` and `zero_point` are given for a quantized tensor only: real = scale * (stored - zero_point).
    `values` are probabilities where a foreign file ends with a softmax or sigmoid.
    """

    name: str
    shape: tuple[int, ...] = field(metadata=bounds(low=1, high=1 << 24))
    dtype: DType
    layout: Layout
    role: Role
    scale: float | None = field(default=None, metadata=bounds(above=0))
    zero_point: int | None = None
    values: Literal["logits", "probabilities"] = "logits"

    def __post_init__(self) -> None:
        if len(self.shape) != len(self.layout):
            raise ValueError(f"a tensor in {self.layout} has {len(self.layout)} sizes; its shape is {self.shape}.")

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels or cells."""
        if self.layout == "NCHW":
            return self.shape[2], self.shape[3]
        return self.shape[1], self.shape[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocess:
    """How an image becomes the input tensor; normalised = (pixel * scale - mean) / std, per channel in `color_order`.

    With `in_graph` the artifact takes uint8 pixels and normalises them itself; the host only resizes and reorders the
    channels.
    """

    color_order: Literal["rgb", "bgr"] = "rgb"
    resize: Literal["stretch", "letterbox"] = "stretch"
    interpolation: Literal["bilinear", "area"] = "bilinear"
    scale: float = field(default=1.0 / 255.0, metadata=bounds(above=0))
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = field(default=(0.229, 0.224, 0.225), metadata=bounds(above=0))
    in_graph: bool = True

    @property
    def byte_ends(self) -> tuple[float, float] | None:
        """The (low, high) of normalised images if int8 between them has exactly the steps of the bytes, else None.

        That requires one mean and deviation for all channels, and a mean that is a whole byte, so that zero is a step.
        """
        if len({*self.mean}) > 1 or len({*self.std}) > 1:
            return None
        black = -self.mean[0] / self.std[0]
        middle = self.mean[0] / self.scale
        if abs(middle - round(middle)) > _BYTE_TOLERANCE or not 0 <= round(middle) <= LARGEST_BYTE:
            return None
        return black, black + LARGEST_BYTE * self.scale / self.std[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerChannels:
    """The channels of one convolution, linear layer or norm that structured pruning made narrower.

    `groups` is the group count of a convolution (depthwise: the channel count) or of a group norm, otherwise 1.
    """

    name: str
    inputs: int
    outputs: int
    groups: int = 1

    def __post_init__(self) -> None:
        if min(self.inputs, self.outputs, self.groups) < 1:
            raise ValueError(f"{self.name}: inputs, outputs and groups must be 1 or more.")
        if self.inputs % self.groups or self.outputs % self.groups:
            raise ValueError(
                f"{self.name}: {self.inputs} to {self.outputs} channels cannot be split into {self.groups} groups."
            )


Argument = bool | int | float | str | tuple[int, ...] | tuple[float, ...] | tuple[str, ...]
"""A keyword argument of a net's factory, in types that JSON and TOML can store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetOutput:
    """How the output of a user's net becomes logits (N, classes, h, w): the `[output]` table of a spec.toml.

    A tensor is used directly; of a tuple or list the first item; of a dict or object `out`, else `logits`. `key`
    selects another one: a dict key, an attribute, or a position ("1").

    With `cut`, final ops are removed: argmax, softmax or sigmoid, then one bilinear upsampling by a whole factor
    (align_corners=False). edgeseg itself resizes logits in the same way, to the size of any image.

    A net with one output channel separates two classes: the second one where the channel's sigmoid is above
    `threshold`. `one_channel` says whether the channel holds the logit z or the probability p. edgeseg continues with
    two channels, (0, z) or (1 - p, p): the softmax over (0, z) is the sigmoid of z. A threshold other than 0.5 shifts z
    by its own logit, and with it the odds of p, so that the two channels are equal at the threshold.
    """

    key: str = ""
    cut: bool = True
    one_channel: Literal["logit", "probability"] = "logit"
    threshold: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1:
            raise ValueError(f"threshold = {self.threshold:g}: give a probability between 0 and 1, 0.5 is usual.")


@dataclass(frozen=True, slots=True, kw_only=True)
class OpRewrite:
    """One kind of op, by its ATen name, computed in another way: `to`, a name in `edgeseg.models.op_rewrites`.

    It applies to the module `layer` and the modules in it; "" is the whole net.
    """

    op: str
    to: str
    layer: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A trained model without its code: its classes, its input and output, and where its weights come from.

    `architecture` is a registered name or `package.module:factory`, which is called with `arguments`.
    `inputs` and `outputs` describe the network itself (normalised float pixels to logits at `output_stride`); an
    artifact's own tensors are in its manifest. `notice` is text that the licence requires to be shown with every use.
    `channels` lists the layers that pruning made narrower than the architecture's own.
    `bypassed` names modules replaced by an identity: constant gates that were folded into weights.
    `rewrites` are ops that a device's accelerator lacks, computed with others.
    `output` is None if the net returns logits, as every registered architecture does.
    """

    name: str
    architecture: str
    classes: tuple[str, ...] = field(metadata=bounds(items=(1, 256)))
    palette: tuple[tuple[int, int, int], ...] = field(metadata=bounds(low=0, high=255))
    ignore_index: int = field(metadata=bounds(low=0, high=255))
    inputs: tuple[TensorSpec, ...] = field(metadata=bounds(items=(1, None)))
    outputs: tuple[TensorSpec, ...] = field(metadata=bounds(items=(1, None)))
    preprocess: Preprocess
    output_stride: int = field(metadata=bounds(low=1, high=4096))
    weights_sha256: str
    licence: str
    notice: str = ""
    channels: tuple[LayerChannels, ...] = ()
    bypassed: tuple[str, ...] = ()
    rewrites: tuple[OpRewrite, ...] = ()
    arguments: dict[str, Argument] = field(default_factory=dict, hash=False)
    output: NetOutput | None = None

    def __post_init__(self) -> None:
        if len(self.palette) != len(self.classes):
            raise ValueError(f"{len(self.classes)} classes but {len(self.palette)} palette colours (RGB).")

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the input in pixels."""
        return self.inputs[0].size


def orientation_warning(size: tuple[int, int], *, own: tuple[int, int]) -> str:
    """Return a warning if one of two sizes (height, width) is portrait and the other landscape, else an empty string.

    `size` was asked for by `--size`, `own` is the net's: most who swap height and width do so by mistake.
    """
    if (size[0] - size[1]) * (own[0] - own[1]) >= 0:
        return ""
    return (
        f"--size {size[0]}x{size[1]} is HEIGHTxWIDTH and has another orientation than the net's {own[0]}x{own[1]}. "
        f"If unintended, give --size {size[1]}x{size[0]}."
    )
