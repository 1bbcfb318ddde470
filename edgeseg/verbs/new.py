"""A new project: a data set and a device in, two commented recipes and the five commands out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.core.suggestions import unknown
from edgeseg.errors import InputError

if TYPE_CHECKING:
    from edgeseg.core.progress import Progress
    from edgeseg.core.target import Target
    from edgeseg.train.project import NetChoice, ProjectData

START = "fast_scnn"
"""The architecture of a new project: the cheapest that has start weights of a free licence."""
OTHERS = ("lraspp_mobilenet_v3_small_relu", "pp_liteseg_t", "ddrnet_23_slim")
_RECIPES = ("train.toml", "compress.toml")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewProject:
    """What `new` wrote, what it saw in the data, and the commands that come next."""

    folder: Path
    recipes: tuple[Path, ...]
    data: ProjectData
    net: NetChoice
    commands: tuple[str, ...]


def new(
    folder: str | Path,
    *,
    data: str,
    target: str,
    model: str | None = None,
    size: tuple[int, int] | None = None,
    force: bool = False,
    on_progress: Progress | None = None,
) -> NewProject:
    """Return the project written to `folder`: train.toml and compress.toml for a data set and a target device.

    `model` is another registered architecture, `size` (height, width) another input size.

    Raises:
        UnknownName, InputError: no such target or model, a size that it does not take, or recipes that exist.
        DatasetError: data that cannot be used.
    """
    from edgeseg.compress.pipeline.recipe import read_pipeline
    from edgeseg.core.files import write_whole
    from edgeseg.data import open_dataset
    from edgeseg.targets import find_target
    from edgeseg.train import read_recipe
    from edgeseg.train.project import compress_recipe, look_at_data, train_recipe

    place = Path(folder)
    _check_place(place, force=force)
    device = find_target(target)
    text = _lasting(data)
    found = look_at_data(
        text,
        training=open_dataset(data, split="train"),
        validation=open_dataset(data, split="val"),
        size=size,
        on_progress=on_progress,
    )
    net, others = _choose(model, size=found.size, device=device)
    name = str(folder)
    checkpoint = str((place / "train" / "checkpoint").absolute())
    texts = (
        train_recipe(found, net=net, others=others, target=device, name=place.name),
        compress_recipe(found, target=device, name=place.name, checkpoint=checkpoint),
    )
    place.mkdir(exist_ok=True)
    paths = tuple(place / file for file in _RECIPES)
    for path, content in zip(paths, texts, strict=True):
        write_whole(content.encode(), path)
    read_recipe(paths[0])
    read_pipeline(paths[1])
    artifact = f"{name}/artifact"
    commands = (
        f"edgeseg train {paths[0]} --out {name}/train",
        f"edgeseg compress {paths[1]} --out {name}/compress",
        f"edgeseg convert {name}/compress/checkpoint --target {target} --precision int8 --out {artifact}",
        f"edgeseg validate {artifact} --data {data}",
        f"edgeseg run {artifact} --source 0 --web",
    )
    return NewProject(folder=place, recipes=paths, data=found, net=net, commands=commands)


def _check_place(place: Path, *, force: bool) -> None:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", place.name):
        raise InputError(f'{place}: a project names files, so use letters, digits and "._-" only.')
    if place.exists() and not place.is_dir():
        raise InputError(f"{place}: is a file, where a folder is needed.")
    if not place.absolute().parent.is_dir():
        raise InputError(f"{place.parent}: no such folder.")
    there = next((place / file for file in _RECIPES if (place / file).exists()), None)
    if there is not None and not force:
        raise InputError(f"{there}: exists already. Choose another folder, or replace it with --force.")


def _lasting(data: str) -> str:
    """Return the data's text for a recipe that is read from any folder: an existing path is made absolute."""
    return str(Path(data).absolute()) if Path(data).exists() else data


def _choose(model: str | None, *, size: tuple[int, int], device: Target) -> tuple[NetChoice, tuple[NetChoice, ...]]:
    """Return the net and the others that could be used, each with what it costs at this size."""
    from edgeseg.models import architectures, bundled

    if model is not None and model not in architectures():
        raise unknown("architecture", model, architectures())
    name = model or START
    init = f"{name}:streets" if f"{name}:streets" in bundled() else ""
    start = "It starts from weights that are free to use." if init else "It has no start weights: all is learnt here."
    fits = f"Int8 on {device.title} runs through {device.backends[0].engine}." if device.backends else ""
    chosen = _cost(name, init=init, size=size, reason=f"{start} {fits}".strip())
    others = tuple(_cost(other, init="", size=size) for other in OTHERS if other in architectures() and other != name)
    return chosen, others


def _cost(name: str, *, init: str, size: tuple[int, int], reason: str = "") -> NetChoice:
    from edgeseg.models import build, cost
    from edgeseg.train.project import NetChoice

    found = cost(build(name, classes=2, size=size), size=size)
    return NetChoice(name=name, init=init, macs=found.macs, parameters=found.parameters, reason=reason)
