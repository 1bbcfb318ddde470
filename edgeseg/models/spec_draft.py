"""Drafts a spec.toml from a net, its weights and the files beside them; guesses are marked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from edgeseg.core.parsing import parse_toml
from edgeseg.core.records import decode_record
from edgeseg.core.spec import NetOutput
from edgeseg.core.spec_file import GUESSED, SpecFile
from edgeseg.errors import EdgesegError, InputError
from edgeseg.models.dry_run import logits_shape
from edgeseg.models.factory import (
    CLASS_COUNTS,
    call_factory,
    class_count_default,
    find_factory,
    module_folder,
    parameters_of,
    trust,
)
from edgeseg.models.net_output import KEYS, adapt
from edgeseg.models.preprocessor_file import PREPROCESSOR, stated_preprocess
from edgeseg.models.state_dict import fitted, load_weights, read_state_dict

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

SIZES = ((512, 512), (384, 480), (256, 256), (224, 224), (512, 1024), (1024, 1024))
"""Input sizes to try if none is stated; the first that the net supports is used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFacts:
    """A data set's class names, and an input size (height, width) that suits its images."""

    name: str
    classes: tuple[str, ...]
    size: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecDraft:
    """A spec.toml as text and as a record, and its guessed keys."""

    text: str
    spec: SpecFile
    guessed: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    key: str
    value: str
    note: str = ""
    guess: bool = False

    def text(self) -> str:
        if self.guess:
            return f"{self.key} = {self.value}  {GUESSED}{': ' if self.note else ''}{self.note}"
        return f"{self.key} = {self.value}{'  # ' if self.note else ''}{self.note}"


def draft_spec(
    text: str,
    *,
    weights: Path | None = None,
    size: tuple[int, int] | None = None,
    data: DataFacts | None = None,
) -> SpecDraft:
    """Return a spec.toml for the net that `package.module:factory` builds, with a size that the net was run at.

    Classes come from the data set, the weights or the factory, names also from a transformers configuration. The
    preprocessing comes from a preprocessor_config.json beside the weights or the module.

    Raises:
        InputError: a factory that cannot be called, or a net whose logits or size cannot be determined.
        CheckpointError: weights that cannot be read, or that do not fit any number of classes.
    """
    trust(text)
    net, count = _built(text, weights=weights, data=data)
    found_size, sized = _size(net, size=size, data=data, folder=_beside(text, weights))
    key, guessed_key = _key(net, found_size)
    channels = _channels(net, key=key, size=found_size)
    lines = [
        _Line(key="schema", value="1"),
        _Line(key="name", value=json.dumps(text.rpartition(":")[2].lower())),
        _classes(net, channels=channels, data=data),
        sized,
        _Line(key="licence", value='"not stated"', note="of the weights", guess=True),
    ]
    tables: dict[str, list[_Line]] = {"preprocess": _preprocess(_beside(text, weights))}
    if key:
        tables["output"] = [_Line(key="key", value=json.dumps(key), note="of the net's outputs", guess=guessed_key)]
    passed = next((name for name in CLASS_COUNTS if name in parameters_of(find_factory(text))), None)
    if passed is not None and count != channels:
        tables["arguments"] = [_Line(key=passed, value=str(count), note="one channel separates two classes")]
    return _written(lines, tables, title=text)


def _written(lines: list[_Line], tables: dict[str, list[_Line]], *, title: str) -> SpecDraft:
    parts = [
        f"# What edgeseg found about {title}. Check the lines marked as guessed, those of [preprocess]",
        "# first: edgeseg spec ... --check --data DIR tries the usual preprocessings on labelled images.",
        *(line.text() for line in lines),
    ]
    for name, held in tables.items():
        parts += ["", f"[{name}]", *(line.text() for line in held)]
    whole = "\n".join(parts) + "\n"
    guessed = [line.key for line in lines if line.guess]
    guessed += [f"{name}.{line.key}" for name, held in tables.items() for line in held if line.guess]
    spec = decode_record(SpecFile, parse_toml(whole, where="spec.toml"), where="spec.toml")
    return SpecDraft(text=whole, spec=spec, guessed=tuple(guessed))


def _built(text: str, *, weights: Path | None, data: DataFacts | None) -> tuple[nn.Module, int]:
    """Return the net in evaluation mode with the number that its factory was called with."""
    state = None if weights is None else read_state_dict(weights)
    default = class_count_default(text)
    counts: list[int] = [] if data is None else [len(data.classes)]
    counts += [] if default is None else [default]
    if state is not None:
        counts += [int(value.shape[0]) for value in list(state.values())[:-9:-1] if value.dim() in (1, 2, 4)]
    if data is not None and len(data.classes) == 2:
        counts.append(1)
    if not counts and any(name in parameters_of(find_factory(text)) for name in CLASS_COUNTS):
        raise InputError(f"{text}: needs the number of classes. Give --data DIR, or --weights FILE.")
    fault: EdgesegError | None = None
    for count in dict.fromkeys(counts or [1]):
        net = call_factory(text, classes=count, size=SIZES[0]).eval()
        if state is None:
            return net, count
        given = fitted(state, keys=set(net.state_dict()))
        try:
            load_weights(net, given, source=str(weights), advice="Check the factory.")
        except EdgesegError as error:
            fault = fault or error
        else:
            return net, count
    assert fault is not None
    raise fault


def _size(
    net: nn.Module, *, size: tuple[int, int] | None, data: DataFacts | None, folder: tuple[Path, ...]
) -> tuple[tuple[int, int], _Line]:
    """Return the input size and its line: as given or stated, else the first that the net supports."""
    stated = stated_preprocess(folder)
    tried: list[tuple[tuple[int, int], str, bool]] = []
    if size is not None:
        tried.append((size, "as given", False))
    elif stated is not None and stated.size is not None:
        tried.append((stated.size, f"of {stated.source}", False))
    else:
        if data is not None:
            tried.append((data.size, f"near most images of {data.name}", True))
        tried += [(item, "the net supports it", True) for item in SIZES]
    fault: InputError | None = None
    for sides, note, guess in tried:
        try:
            _returned(net, sides)
        except InputError as error:
            fault = fault or error
            continue
        line = _Line(key="size", value=f"[{sides[0]}, {sides[1]}]", note=f"height, width; {note}", guess=guess)
        return sides, line
    assert fault is not None
    raise fault


@torch.no_grad()
def _returned(net: nn.Module, size: tuple[int, int]) -> object:
    """Return the net's output for an image of zeros; raises `InputError` for a size that it does not support."""
    try:
        return type(net).forward(net, torch.zeros(1, 3, *size))
    except Exception as error:  # foreign code may fail in any way
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(f"{type(net).__name__} does not support {size[0]}x{size[1]}: {lines[0]}") from error


def _key(net: nn.Module, size: tuple[int, int]) -> tuple[str, bool]:
    """Return the output's key ("" if the rules of `NetOutput` find the logits), and whether it is guessed."""
    returned = _returned(net, size)
    items: list[tuple[str, object]] = []
    if isinstance(returned, dict) or (hasattr(returned, "items") and hasattr(returned, "keys")):
        items = [(str(key), value) for key, value in returned.items()]
    elif isinstance(returned, (tuple, list)):
        items = [(str(index), value) for index, value in enumerate(returned)]
    if not items or any(key in KEYS for key, _ in items):
        return "", False
    maps = [key for key, value in items if isinstance(value, Tensor) and value.dim() >= 3]
    if not maps:
        keys = ", ".join(key for key, _ in items)
        raise InputError(f"{type(net).__name__} returns {keys}, none of which is a feature map.")
    by_position = isinstance(returned, (tuple, list))
    return ("", False) if by_position and maps[0] == "0" else (maps[0], len(maps) > 1)


def _channels(net: nn.Module, *, key: str, size: tuple[int, int]) -> int:
    """Return the number of classes that the net's logits have; two for one channel."""
    adapted = adapt(net, output=NetOutput(key=key), classes=2)
    try:
        return logits_shape(adapted, size=size)[1]
    finally:
        del net.forward


def _classes(net: nn.Module, *, channels: int, data: DataFacts | None) -> _Line:
    if data is not None and len(data.classes) == channels:
        return _Line(key="classes", value=json.dumps(list(data.classes)), note=f"of {data.name}")
    if data is not None:
        raise InputError(
            f"{type(net).__name__} returns {channels} channels, {data.name} has {len(data.classes)} classes: "
            "give the data set that it was trained on."
        )
    names = getattr(getattr(net, "config", None), "id2label", None)
    if isinstance(names, dict) and len(names) == channels:
        # JSON's keys are texts, and "10" sorts before "2".
        listed = [str(names[key]) for key in sorted(names, key=lambda key: (len(str(key)), str(key)))]
        if len(set(listed)) == channels and not all(name.startswith("LABEL_") for name in listed):
            return _Line(key="classes", value=json.dumps(listed), note="of the net's configuration")
    return _Line(key="classes", value=str(channels), note="or their names, in the net's order")


def _preprocess(folder: tuple[Path, ...]) -> list[_Line]:
    stated = stated_preprocess(folder)
    if stated is not None:
        note = f"of {stated.source}"
        return [
            _Line(key="color_order", value='"rgb"', note=note),
            _Line(key="scale", value=repr(stated.scale), note=f"{note}: normalised = (pixel * scale - mean) / std"),
            _Line(key="mean", value=json.dumps(list(stated.mean)), note=note),
            _Line(key="std", value=json.dumps(list(stated.std)), note=note),
            _Line(key="resize", value='"stretch"', guess=True),
        ]
    return [
        _Line(key="color_order", value='"rgb"', note="as in most PyTorch code", guess=True),
        _Line(key="scale", value=repr(1 / 255), note="normalised = (pixel * scale - mean) / std", guess=True),
        _Line(key="mean", value="[0.485, 0.456, 0.406]", note="ImageNet's", guess=True),
        _Line(key="std", value="[0.229, 0.224, 0.225]", guess=True),
        _Line(key="resize", value='"stretch"', guess=True),
    ]


def _beside(text: str, weights: Path | None) -> tuple[Path, ...]:
    """Return the files that may state the preprocessing: beside the weights, then beside the module."""
    folder = module_folder(text)
    places = [] if weights is None else [weights.parent]
    return tuple(place / PREPROCESSOR for place in (*places, *([] if folder is None else [folder])))
