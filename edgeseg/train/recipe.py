"""The training recipe: one strict TOML file (`schema = 1`) as frozen dataclasses."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from edgeseg.core.files import read_toml
from edgeseg.core.spec import Preprocess
from edgeseg.core.suggestions import unknown
from edgeseg.data import Augment, Decoding
from edgeseg.data.decoding import PixelRange
from edgeseg.errors import InputError

_BUNDLED = Path(__file__).with_name("recipes")
_SCHEMA = 1
ClassWeights = Literal["none", "median-frequency", "enet", "inverse", "effective-number"]
"""Rules for class weights, see `edgeseg.train.class_weights`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRecipe:
    """The net to train, its input size (height, width) in pixels, and its start weights."""

    name: str
    size: tuple[int, int] = (384, 480)
    init: str = ""
    """A checkpoint to start from: a path or a bundled name. With other classes, the classifier starts fresh."""
    encoder: str = ""
    """A file of public encoder weights (torchvision's key names)."""

    def __post_init__(self) -> None:
        if self.init and self.encoder:
            raise ValueError("init and encoder are both given; give only one of them.")


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldRecipe:
    """`[data.fold]`: validate on one group (a drive, a patient) of the training split, and train on the others."""

    pattern: str
    """Regular expression on sample names; its first group is the group's name."""
    name: str
    """The group that is held out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataRecipe:
    """The labelled images: a folder, a dataset.toml, or `READER:PLACE`. `val` defaults to the value of `train`."""

    train: str
    val: str = ""
    train_split: str = "train"
    val_split: str = "val"
    cache: bool = True
    """Keep decoded images in memory."""
    range: PixelRange | None = None
    """Black and white values of images with more than 8 bits, [low, high], or "percentile"."""
    max_pixels: int | None = None
    """Largest image, height times width; EDGESEG_MAX_PIXELS or 200 million by default."""
    fold: FoldRecipe | None = None

    def __post_init__(self) -> None:
        self.decoding()

    def decoding(self) -> Decoding:
        """Return the rules for decoding images."""
        return Decoding(range=self.range, max_pixels=self.max_pixels)


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingRecipe:
    """`[sampling]`: more of the rare classes; both are off by default."""

    focus: float = 0.0
    """Chance that a crop is placed to show a rare class that its image has, 0..1."""
    paste: float = 0.0
    """Chance that the rare classes' pixels of another image are pasted over the crop, 0..1."""
    classes: tuple[str, ...] = ()
    """Names of the rare classes; by default those with fewer pixels than the median class."""

    def __post_init__(self) -> None:
        if not 0 <= self.focus <= 1 or not 0 <= self.paste <= 1:
            raise ValueError(f"focus = {self.focus:g}, paste = {self.paste:g}: both are chances from 0 to 1.")


@dataclass(frozen=True, slots=True, kw_only=True)
class LossRecipe:
    """The weights and settings of the loss terms; see `edgeseg.train.losses` for the formulas."""

    cross_entropy: float = 1.0
    dice: float = 0.0
    lovasz: float = 0.0
    focal: float = 0.0
    focal_gamma: float = 2.0
    tversky: float = 0.0
    tversky_alpha: float = 0.3
    """Weight of false positives in the Tversky index; missed pixels weigh 1 - alpha."""
    boundary: float = 1.0
    """Weight of the loss of the boundary head that PIDNet and STDC-Seg have in training."""
    boundary_width: int = 1
    """Pixels on each side of a border between two classes that count as boundary."""
    ohem_share: float = 1.0
    """Share of pixels, the hardest ones, that always count in the cross-entropy; 1 means all pixels."""
    ohem_threshold: float = 0.0
    """With OHEM, pixels whose true class has a lower probability than this also count."""
    class_weights: ClassWeights | tuple[float, ...] = "none"
    class_weight_power: float = 1.0
    """Exponent on the class weights; 0.5 softens them."""
    class_weight_limit: float = 100.0
    """Largest ratio between the weights of two classes that occur; rarer classes are held there."""
    label_smoothing: float = 0.0
    aux: float = 0.4
    """Weight of each auxiliary head's loss; 0 builds no auxiliary heads."""
    stride: int = 1
    """The loss uses every n-th row and column, from an offset that changes with each step."""
    lovasz_stride: int = 2
    """The Lovász loss, which sorts all its pixels, uses every n-th of those."""

    def __post_init__(self) -> None:
        terms = (self.cross_entropy, self.dice, self.lovasz, self.focal, self.tversky)
        if min(*terms, self.aux, self.boundary, self.focal_gamma) < 0 or sum(terms) <= 0:
            raise ValueError("loss weights must be 0 or more, and one term must be above 0.")
        if not 0 < self.ohem_share <= 1 or not 0 <= self.ohem_threshold < 1 or not 0 <= self.label_smoothing < 1:
            raise ValueError("ohem_share must be above 0 to 1, ohem_threshold and label_smoothing 0 to below 1.")
        if not 0 <= self.tversky_alpha <= 1 or self.class_weight_limit < 1:
            raise ValueError("tversky_alpha must be from 0 to 1, class_weight_limit 1 or more.")
        if min(self.stride, self.lovasz_stride, self.boundary_width) < 1:
            raise ValueError("stride, lovasz_stride and boundary_width must be 1 or more.")


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerRecipe:
    """Stochastic gradient descent with Nesterov momentum, or AdamW; norms and biases have no weight decay."""

    name: Literal["sgd", "adamw"] = "sgd"
    rate: float = 0.01
    weight_decay: float = 1e-4
    momentum: float = 0.9
    encoder_rate: float = 1.0
    """Factor on the learning rate of `net.encoder`'s weights."""
    clip: float = 0.0
    """Gradient clipping: the largest norm of the whole gradient; 0 means no limit."""

    def __post_init__(self) -> None:
        if not self.rate > 0 or min(self.weight_decay, self.encoder_rate, self.clip) < 0 or not 0 <= self.momentum < 1:
            raise ValueError("rate must be above 0; weight_decay, encoder_rate and clip 0 or more; momentum below 1.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleRecipe:
    """A warm-up, then a learning rate that falls to 0, step by step; see `edgeseg.train.schedule`."""

    epochs: int = 100
    warmup_epochs: float = 1.0
    shape: Literal["poly", "cosine", "one-cycle"] = "poly"
    """poly: (1 - progress) ** power. cosine: half a cosine. one-cycle: a cosine up over the warm-up, then one down."""
    power: float = 0.9
    """Exponent of poly."""

    def __post_init__(self) -> None:
        if self.epochs < 1 or not 0 <= self.warmup_epochs < self.epochs or self.power < 0:
            raise ValueError(
                f"epochs = {self.epochs}, warmup_epochs = {self.warmup_epochs:g}, power = {self.power:g}: epochs must "
                "be 1 or more, warmup_epochs from 0 to below epochs, power 0 or more."
            )

    def lasting(self, epochs: int) -> ScheduleRecipe:
        """Return the schedule with another number of epochs; a warm-up that would fill it keeps its share of them."""
        warmup = self.warmup_epochs if self.warmup_epochs < epochs else self.warmup_epochs / self.epochs * epochs
        return dataclasses.replace(self, epochs=epochs, warmup_epochs=warmup)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecipe:
    """Batches, precision and evaluation. `batch` is the number of images per forward pass over all processes."""

    batch: int = 8
    accumulate: int = 1
    """Forward passes per optimizer step."""
    ema: float = 0.999
    """Decay per step of the weights' moving average, which is evaluated and saved; 0 means off."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    seed: int = 0
    workers: int = 0
    channels_last: bool = True
    """Images and weights in channels-last order, which is faster; bf16 on a CPU stays contiguous."""
    freeze_norm: bool = False
    """Freeze the running statistics of batch norm."""
    evaluate_every: int = 1
    """Epochs between evaluations; the last epoch is always evaluated."""
    save_every_steps: int = 0
    """Steps between saved states within an epoch; the end of an epoch is always saved."""
    tensorboard: bool = True

    def __post_init__(self) -> None:
        if min(self.batch, self.accumulate, self.evaluate_every) < 1 or min(self.workers, self.save_every_steps) < 0:
            raise ValueError(
                "batch, accumulate and evaluate_every must be 1 or more; workers, save_every_steps 0 or more."
            )
        if not 0 <= self.ema < 1 or self.seed < 0:
            raise ValueError("ema must be from 0 to below 1, seed 0 or more.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One training run. `name` is the name of the result; an empty `licence` means the training data's licence."""

    schema: int
    name: str
    model: ModelRecipe
    data: DataRecipe
    augment: Augment = field(default_factory=Augment)
    sampling: SamplingRecipe = field(default_factory=SamplingRecipe)
    loss: LossRecipe = field(default_factory=LossRecipe)
    optimizer: OptimizerRecipe = field(default_factory=OptimizerRecipe)
    schedule: ScheduleRecipe = field(default_factory=ScheduleRecipe)
    run: RunRecipe = field(default_factory=RunRecipe)
    preprocess: Preprocess = field(default_factory=Preprocess)
    licence: str = ""
    notice: str = ""

    def __post_init__(self) -> None:
        if self.schema != _SCHEMA:
            raise ValueError(f"schema is {self.schema}; this version reads schema = {_SCHEMA}.")


def recipes() -> tuple[str, ...]:
    """Return the names of the recipes that come with the package, sorted."""
    return tuple(sorted(path.stem for path in _BUNDLED.glob("*.toml")))


def read_recipe(text: str | Path) -> Recipe:
    """Return the recipe in a TOML file, or the bundled one of that name.

    Raises:
        InputError: no such file.
        UnknownName: no bundled recipe of that name, with the nearest one.
        RecipeError: a key or value that the schema does not have, with its place.
    """
    path = Path(text)
    if path.suffix != ".toml" and not path.exists():
        if str(text) not in recipes():
            raise unknown("recipe", str(text), recipes())
        path = _BUNDLED / f"{text}.toml"
    return read_toml(Recipe, path)


def override(
    recipe: Recipe,
    *,
    data: str | None = None,
    init: str | None = None,
    encoder: str | None = None,
    epochs: int | None = None,
    seed: int | None = None,
) -> Recipe:
    """Return the recipe with the given values replaced; `data` replaces both train and val.

    With other data, the recipe's licence and notice, which describe the original data, are dropped, and its name in the
    recipe's name and in a start checkpoint under `runs` is replaced; a data set with the same folder name counts as the
    same.
    """
    model, run, schedule, source = recipe.model, recipe.run, recipe.schedule, recipe.data
    if data is not None:
        before, after = data_name(source.train), data_name(data)
        if before != after:
            name = recipe.name.replace(f"-{before}", f"-{after}")
            name = name if name != recipe.name else f"{model.name}-{after}"
            recipe = dataclasses.replace(recipe, name=name, licence="", notice="")
            model = dataclasses.replace(model, init=run_of(model.init, before=before, after=after))
        source = dataclasses.replace(source, train=data, val="")
    if init is not None:
        model = dataclasses.replace(model, init=init, encoder="")
    if encoder is not None:
        model = dataclasses.replace(model, encoder=encoder, init="")
    try:
        schedule = schedule if epochs is None else schedule.lasting(epochs)
        run = run if seed is None else dataclasses.replace(run, seed=seed)
    except ValueError as error:
        given = [f"{name} {value}" for name, value in (("epochs", epochs), ("seed", seed)) if value is not None]
        raise InputError(f"{' and '.join(given)}: {error}") from error
    return dataclasses.replace(recipe, model=model, data=source, run=run, schedule=schedule)


def run_of(model: str, *, before: str, after: str) -> str:
    """Return a checkpoint under `runs` with the name of the data set `after` for `before`; others as they are."""
    return model.replace(f"-{before}", f"-{after}") if model.startswith("runs/") else model


def data_name(text: str) -> str:
    """Return a data set's name for use in file names: its folder's, or its reader's if it has no folder."""
    place = text.split(":", maxsplit=1)[0] if text.startswith("streets") else text.rsplit(":", maxsplit=1)[-1]
    path = Path(place).resolve()
    stem = path.parent.name if path.name == "dataset.toml" else path.stem if path.suffix == ".toml" else path.name
    return re.sub(r"[^A-Za-z0-9._]+", "-", stem).strip("-.") or "data"
