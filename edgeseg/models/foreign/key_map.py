"""Key maps: from the modules of another project's net to ours."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from edgeseg.models.state_dict import OPTIONAL

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import Tensor

    from edgeseg.core.spec import Preprocess

RECOGNISED = 0.5
"""Share of a file's keys that a map must know before the file counts as that project's."""


@dataclass(frozen=True, kw_only=True)
class KeyMap:
    """One project's names for the modules of one of our nets.

    `net` is an architecture's name, or the class of an encoder. `modules` are pairs (theirs, ours); a pair covers
    everything inside the two modules that has no closer pair. `unused` are modules of theirs that ours leaves out by
    design: classifiers, auxiliary heads. `splits` are tensors of theirs that are several of ours, along the
    second axis. `classifier` is our key whose first axis is the number of classes. `preprocess` is how their images
    were normalized.
    """

    layout: str
    net: str
    modules: tuple[tuple[str, str], ...]
    unused: tuple[str, ...] = ()
    splits: tuple[tuple[str, tuple[str, ...]], ...] = ()
    classifier: str = ""
    preprocess: Preprocess | None = None

    @cached_property
    def _ours(self) -> Mapping[str, str]:
        return dict(self.modules)

    @cached_property
    def _theirs(self) -> Mapping[str, str]:
        return {ours: theirs for theirs, ours in self.modules}

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
        split = {theirs for theirs, _ in self.splits}
        named = sum(key in split or self.ours(key) is not None or self.drops(key) for key in counted)
        return named / max(len(counted), 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Translated:
    """A file's tensors under our keys, its keys that were dropped by design, and those that the map does not know."""

    tensors: Mapping[str, Tensor]
    dropped: tuple[str, ...]
    unknown: tuple[str, ...]


def translate(given: Mapping[str, Tensor], *, by: KeyMap) -> Translated:
    """Return the tensors of another project's state dict under our keys."""
    dropped = tuple(key for key in given if by.drops(key))
    splits = {theirs: ours for theirs, ours in by.splits if theirs in given and given[theirs].dim() > 1}
    names = {key: by.ours(key) for key in given if key not in dropped and key not in splits}
    parts = {
        name: part.contiguous()
        for theirs, ours in splits.items()
        for name, part in zip(ours, given[theirs].chunk(len(ours), dim=1), strict=False)
    }
    return Translated(
        tensors={ours: given[key] for key, ours in names.items() if ours is not None} | parts,
        dropped=dropped,
        unknown=tuple(key for key, ours in names.items() if ours is None),
    )


def best_map(keys: Iterable[str], *, maps: Iterable[KeyMap]) -> KeyMap | None:
    """Return the map that knows most of the keys, None if none knows half of them."""
    listed = tuple(keys)
    found = max(maps, key=lambda one: one.known(listed), default=None)
    return None if found is None or found.known(listed) < RECOGNISED else found


def _renamed(key: str, modules: Mapping[str, str]) -> str | None:
    """Return a key with the longest module name that starts it replaced."""
    end = len(key)
    while end > 0:
        name = key[:end]
        if name in modules:
            return modules[name] + key[end:]
        end = key.rfind(".", 0, end)
    return None
