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
from edgeseg.data.decoding import Range
from edgeseg.errors import InputError

BUNDLED = Path(__file__).with_name("recipes")
SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRecipe:
    """Which net is trained, for which input size (height, width) in pixels, and from which weights it starts."""

    name: str
    size: tuple[int, int] = (384, 480)
    init: str = ""
    """A checkpoint to start from: a path or a bundled name. A classifier of other classes starts fresh."""
    encoder: str = ""
    """A file of public encoder weights (torchvision's key names)."""

    def __post_init__(self) -> None:
        if self.init and self.encoder:
            raise ValueError("init and encoder are both given; a run starts from one of them.")


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldRecipe:
    """`[data.fold]`: validate on one group (a drive, a patient) of the training split, and train on the others."""

    pattern: str
    """Regular expression on the samples' names; its first group names the group."""
    name: str
    """The group that is held out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataRecipe:
    """Where the labelled images are: a folder, a dataset.toml, or `READER:PLACE`. Without `val`: `train`'s own."""

    train: str
    val: str = ""
    train_split: str = "train"
    val_split: str = "val"
    cache: bool = True
    """Keep decoded images in memory."""
    range: Range | None = None
    """Which values of images of more than 8 bits are black and white, [low, high], or "percentile"."""
    max_pixels: int | None = None
    """Largest image, height times width; EDGESEG_MAX_PIXELS or 200 million by default."""
    fold: FoldRecipe | None = None

    def __post_init__(self) -> None:
        self.decoding()

    def decoding(self) -> Decoding:
        """Return the rules for decoding images."""
        return Decoding(range=self.range, max_pixels=self.max_pixels)


@dataclass(frozen=True, slots=True, kw_only=True)
class LossRecipe:
    """The weights of the loss terms and what they need; see `edgeseg.train.losses` for each formula."""

    cross_entropy: float = 1.0
    dice: float = 0.0
    lovasz: float = 0.0
    focal: float = 0.0
    focal_gamma: float = 2.0
    ohem_share: float = 1.0
    """Share of pixels that always count in the cross-entropy, the hardest ones; 1 is all pixels."""
    ohem_threshold: float = 0.0
    """With OHEM, pixels whose true class is less probable than this count too."""
    class_weights: Literal["none", "median-frequency", "enet"] | tuple[float, ...] = "none"
    class_weight_power: float = 1.0
    """Exponent on the class weights; 0.5 softens them."""
    label_smoothing: float = 0.0
    aux: float = 0.4
    """Weight of each auxiliary head's loss; 0 builds no auxiliary heads."""
    stride: int = 1
    """The loss sees every n-th row and column, from an offset that changes with each step."""
    lovasz_stride: int = 2
    """Of those, Lovász sees every n-th: it sorts all pixels."""

    def __post_init__(self) -> None:
        terms = (self.cross_entropy, self.dice, self.lovasz, self.focal)
        if min(*terms, self.aux, self.focal_gamma) < 0 or sum(terms) <= 0:
            raise ValueError("loss weights must be 0 or more, and one term must be above 0.")
        if not 0 < self.ohem_share <= 1 or not 0 <= self.ohem_threshold < 1 or not 0 <= self.label_smoothing < 1:
            raise ValueError("ohem_share is a share above 0, ohem_threshold and label_smoothing are from 0 to below 1.")
        if self.stride < 1 or self.lovasz_stride < 1:
            raise ValueError("stride and lovasz_stride are 1 or more.")


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerRecipe:
    """Stochastic gradient descent with Nesterov momentum, or AdamW; norms and biases have no weight decay."""

    name: Literal["sgd", "adamw"] = "sgd"
    rate: float = 0.01
    weight_decay: float = 1e-4
    momentum: float = 0.9
    encoder_rate: float = 1.0
    """Factor on the rate of `net.encoder`'s weights."""
    clip: float = 0.0
    """Largest norm of the whole gradient; 0 is no limit."""

    def __post_init__(self) -> None:
        if not self.rate > 0 or min(self.weight_decay, self.encoder_rate, self.clip) < 0 or not 0 <= self.momentum < 1:
            raise ValueError("rate must be above 0; weight_decay, encoder_rate and clip 0 or more; momentum below 1.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleRecipe:
    """Linear warm-up, then rate * (1 - progress) ** power, step by step."""

    epochs: int = 100
    warmup_epochs: float = 1.0
    power: float = 0.9

    def __post_init__(self) -> None:
        if self.epochs < 1 or not 0 <= self.warmup_epochs < self.epochs or self.power < 0:
            raise ValueError(
                f"epochs = {self.epochs}, warmup_epochs = {self.warmup_epochs:g}, power = {self.power:g}: epochs is 1 "
                "or more, warmup_epochs from 0 to below epochs, power 0 or more."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecipe:
    """How the steps are made. `batch` counts the images of one forward pass over all processes."""

    batch: int = 8
    accumulate: int = 1
    """Forward passes that make one step."""
    ema: float = 0.999
    """Decay of the weights' moving average, a step; 0 is off. The average is what is evaluated and kept."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    seed: int = 0
    workers: int = 0
    channels_last: bool = True
    """Images and weights in channels-last order, which is faster; bf16 on a CPU stays contiguous."""
    freeze_norm: bool = False
    """Keep the running statistics of batch norm as they are."""
    evaluate_every: int = 1
    """Epochs between evaluations; the last epoch is always evaluated."""
    save_every_steps: int = 0
    """Steps between saved states inside an epoch; every epoch's end is saved in any case."""
    tensorboard: bool = True

    def __post_init__(self) -> None:
        if min(self.batch, self.accumulate, self.evaluate_every) < 1 or min(self.workers, self.save_every_steps) < 0:
            raise ValueError("batch, accumulate, evaluate_every are 1 or more; workers, save_every_steps 0 or more.")
        if not 0 <= self.ema < 1 or self.seed < 0:
            raise ValueError("ema is from 0 to below 1, seed 0 or more.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One training run. `name` is the result's; an empty `licence` takes the training data's own."""

    schema: int
    name: str
    model: ModelRecipe
    data: DataRecipe
    augment: Augment = field(default_factory=Augment)
    loss: LossRecipe = field(default_factory=LossRecipe)
    optimizer: OptimizerRecipe = field(default_factory=OptimizerRecipe)
    schedule: ScheduleRecipe = field(default_factory=ScheduleRecipe)
    run: RunRecipe = field(default_factory=RunRecipe)
    preprocess: Preprocess = field(default_factory=Preprocess)
    licence: str = ""
    notice: str = ""

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise ValueError(f"schema is {self.schema}; this version reads schema = {SCHEMA}.")


def recipes() -> tuple[str, ...]:
    """Return the names of the recipes that come with the package, sorted."""
    return tuple(sorted(path.stem for path in BUNDLED.glob("*.toml")))


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
        path = BUNDLED / f"{text}.toml"
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
    """Return the recipe with what is given in place of its own; `data` is for train and val.

    With other data, the recipe's licence, notice and name, which speak of the first data, are replaced; a data set of
    the same folder name is taken for the same.
    """
    model, run, schedule, source = recipe.model, recipe.run, recipe.schedule, recipe.data
    if data is not None:
        name = _data_name(data)
        if name != _data_name(source.train):
            recipe = dataclasses.replace(recipe, name=f"{model.name}-{name}", licence="", notice="")
        source = dataclasses.replace(source, train=data, val="")
    if init is not None:
        model = dataclasses.replace(model, init=init, encoder="")
    if encoder is not None:
        model = dataclasses.replace(model, encoder=encoder, init="")
    try:
        schedule = schedule if epochs is None else dataclasses.replace(schedule, epochs=epochs)
        run = run if seed is None else dataclasses.replace(run, seed=seed)
    except ValueError as error:
        raise InputError(f"epochs {epochs}, seed {seed}: {error}") from error
    return dataclasses.replace(recipe, model=model, data=source, run=run, schedule=schedule)


def _data_name(text: str) -> str:
    """Return a data set's name for a file name: its folder's, or its reader's where it has no folder."""
    place = text.split(":", maxsplit=1)[0] if text.startswith("streets") else text.rsplit(":", maxsplit=1)[-1]
    path = Path(place).resolve()
    stem = path.parent.name if path.name == "dataset.toml" else path.stem if path.suffix == ".toml" else path.name
    return re.sub(r"[^A-Za-z0-9._]+", "-", stem).strip("-.") or "data"
