"""Key maps: from the modules of another project's net to ours."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from edgeseg.models.state_dict import OPTIONAL

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import Tensor

    from edgeseg.core.spec import Argument, Preprocess

RECOGNISED = 0.5
"""Share of a file's keys that a map must know before the file counts as that project's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """One tensor of theirs that is several of ours, one after another along an axis."""

    theirs: str
    ours: tuple[str, ...]
    axis: int


@dataclass(frozen=True, kw_only=True)
class KeyMap:
    """One project's names for the modules of one of our nets.

    `net` is an architecture's name, or the class of an encoder; `arguments` are how it must be built to compute what
    theirs does. `modules` are pairs (theirs, ours); a pair covers everything inside the two modules that has no closer
    pair. `unused` are modules of theirs that ours leaves out by design: classifiers, auxiliary heads. `splits`
    are tensors of theirs that are several of ours. `folded` are pairs of a convolution's bias in theirs and the running
    mean of our batch norm behind that convolution, which has no bias: the bias is subtracted from the mean.
    `classifier` is our key whose first axis is the number of classes. `preprocess` is how their images were normalized.
    `notes` say what has to be known about weights for a number of classes, by that number.
    """

    layout: str
    net: str
    modules: tuple[tuple[str, str], ...]
    arguments: Mapping[str, Argument] = field(default_factory=dict)
    unused: tuple[str, ...] = ()
    splits: tuple[Split, ...] = ()
    folded: tuple[tuple[str, str], ...] = ()
    classifier: str = ""
    preprocess: Preprocess | None = None
    notes: Mapping[int, str] = field(default_factory=dict)

    @cached_property
    def _ours(self) -> Mapping[str, str]:
        return dict(self.modules)

    @cached_property
    def _theirs(self) -> Mapping[str, str]:
        return {ours: theirs for theirs, ours in self.modules}

    @cached_property
    def _special(self) -> frozenset[str]:
        return frozenset({*(item.theirs for item in self.splits), *(bias for bias, _ in self.folded)})

    def ours(self, key: str) -> str | None:
        """Return our key for one of theirs; None if the map does not name its module."""
        return _renamed(key, self._ours)

    def theirs(self, key: str) -> str | None:
        """Return their key for one of ours; None if the map does not name its module."""
        return _renamed(key, self._theirs)

    def drops(self, key: str) -> bool:
        """Return whether our net leaves out a key of theirs by design."""
        return any(key == name or key.startswith(f"{name}.") for name in self.unused)

    def known(self, keys: Iterable[str]) -> float:
        """Return the share of keys that this map names, from 0 to 1."""
        counted = [key for key in keys if not key.endswith(OPTIONAL)]
        named = sum(key in self._special or self.ours(key) is not None or self.drops(key) for key in counted)
        return named / max(len(counted), 1)

    def fit(self, keys: Iterable[str]) -> float:
        """Return the share of keys that this map names times the share of its modules that have a key, from 0 to 1."""
        listed = tuple(keys)
        held = {name for key in listed for name in _names(key)}
        return self.known(listed) * sum(theirs in held for theirs, _ in self.modules) / len(self.modules)


@dataclass(frozen=True, slots=True, kw_only=True)
class Translated:
    """A file's tensors under our keys, its keys that were dropped by design, and those that the map does not know."""

    tensors: Mapping[str, Tensor]
    dropped: tuple[str, ...]
    unknown: tuple[str, ...]


def translate(given: Mapping[str, Tensor], *, by: KeyMap) -> Translated:
    """Return the tensors of another project's state dict under our keys."""
    dropped = tuple(key for key in given if by.drops(key))
    splits = [item for item in by.splits if item.theirs in given and given[item.theirs].dim() > item.axis]
    biases = {bias: mean for bias, mean in by.folded if bias in given}
    apart = {*dropped, *biases, *(item.theirs for item in splits)}
    names = {key: by.ours(key) for key in given if key not in apart}
    tensors = {ours: given[key] for key, ours in names.items() if ours is not None}
    for item in splits:
        parts = given[item.theirs].chunk(len(item.ours), dim=item.axis)
        tensors |= {name: part.contiguous() for name, part in zip(item.ours, parts, strict=False)}
    unplaced = [key for key, ours in names.items() if ours is None]
    for bias, mean in biases.items():
        if mean in tensors and tensors[mean].shape == given[bias].shape:
            tensors[mean] = tensors[mean] - given[bias]
        else:
            unplaced.append(bias)
    return Translated(tensors=tensors, dropped=dropped, unknown=tuple(unplaced))


def best_map(keys: Iterable[str], *, maps: Iterable[KeyMap]) -> KeyMap | None:
    """Return the map that names most of the keys and finds most of its modules; None if none names half of them."""
    listed = tuple(keys)
    found = max(maps, key=lambda one: one.fit(listed), default=None)
    return None if found is None or found.known(listed) < RECOGNISED else found


def conv_norm(pairs: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return pairs for modules whose members `conv` and `bn` are called 0 and 1 in ours."""
    return tuple(
        (f"{theirs}.{name}", f"{ours}.{number}")
        for theirs, ours in pairs.items()
        for name, number in (("conv", 0), ("bn", 1))
    )


def _names(key: str) -> Iterable[str]:
    """Yield a key and the modules that it is in."""
    end = len(key)
    while end > 0:
        yield key[:end]
        end = key.rfind(".", 0, end)


def _renamed(key: str, modules: Mapping[str, str]) -> str | None:
    """Return a key with the longest module name that starts it replaced."""
    name = next((name for name in _names(key) if name in modules), None)
    return None if name is None else modules[name] + key[len(name) :]
