"""Splits of a data set that has none: by a list file, a share, or whole groups such as drives or patients.

Neighbouring frames of a drive are nearly identical; with a random split, val would score images seen in training.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING

from edgeseg.core.files import sha256_of_bytes
from edgeseg.core.suggestions import unknown
from edgeseg.data.paths import SPLITS
from edgeseg.data.subset import Subset
from edgeseg.errors import DatasetError, InputError

if TYPE_CHECKING:
    from pathlib import Path

    from edgeseg.data.dataset import Dataset
    from edgeseg.data.description import SplitsTable


def part(whole: Dataset, *, split: str, rules: SplitsTable, root: Path) -> Subset:
    """Return the samples of one split; those in neither val nor test are train.

    Raises:
        UnknownName, InputError: an unknown split, an invalid pattern, or a sample that val and test both name.
        DatasetError: a group or listed name does not exist, a list divides a group, or the split has no samples.
    """
    if split not in SPLITS:
        raise unknown(f"split of {whole.name}", split, SPLITS)
    names = [whole.item_id(index) for index in range(len(whole))]
    groups = groups_of(names, pattern=rules.group)
    given = {"test": rules.test, "val": rules.val}
    chosen = {name: _named(rule, groups=groups, root=root) for name, rule in given.items()}
    if both := chosen["val"] & chosen["test"]:
        raise InputError(f'[splits] val and test of {whole.name} both have "{min(both)}". Remove it from one of them.')
    for name, rule in given.items():
        if isinstance(rule, float) and rule:
            chosen[name] = _share(rule, groups=groups, taken=chosen["val"] | chosen["test"], salt=name)
    chosen["train"] = set(names) - chosen["val"] - chosen["test"]
    taken = chosen[split]
    indices = tuple(index for index, name in enumerate(names) if name in taken)
    if not indices:
        raise DatasetError(f"{whole.name}: [splits] leaves no sample for {split}. Give it a larger share, or groups.")
    return Subset(whole=whole, indices=indices, split=split)


def folds(data: Dataset, *, pattern: str, fold: str) -> tuple[Subset, Subset]:
    """Return a data set without the group `fold`, and that group alone: leave-one-group-out validation.

    Raises:
        InputError, UnknownName: an invalid pattern, or a group that does not exist.
    """
    names = [data.item_id(index) for index in range(len(data))]
    groups = groups_of(names, pattern=pattern)
    known = sorted(set(groups.values()))
    if fold not in known:
        raise unknown(f"fold of {data.name}", fold, known)
    inside = tuple(index for index, name in enumerate(names) if groups[name] == fold)
    outside = tuple(index for index, name in enumerate(names) if groups[name] != fold)
    if not outside:
        raise InputError(f'{data.name}: every sample belongs to the fold "{fold}"; nothing is left to train on.')
    return Subset(whole=data, indices=outside, split=data.split), Subset(
        whole=data, indices=inside, split=f"fold {fold}"
    )


def groups_of(names: list[str], *, pattern: str) -> dict[str, str]:
    """Return each sample's group: the match of the pattern's first group (or of the whole pattern), else its name.

    Raises:
        InputError: the pattern is not a regular expression, or does not match a name.
    """
    if not pattern:
        return {name: name for name in names}
    try:
        rule = re.compile(pattern)
    except re.error as error:
        raise InputError(f'group pattern "{pattern}": not a regular expression: {error}.') from None
    found = {}
    for name in names:
        match = rule.search(name)
        if match is None:
            raise InputError(f'group pattern "{pattern}": does not match "{name}". Every name needs its group.')
        found[name] = match[1] if rule.groups else match[0]
    return found


def _named(rule: str | float | tuple[str, ...], *, groups: dict[str, str], root: Path) -> set[str]:
    """Return the samples that a list file or the names of groups name; none for a share.

    Raises:
        DatasetError, UnknownName: a list that cannot be used or that divides a group, or a group that does not exist.
    """
    if isinstance(rule, tuple):
        missing = [group for group in rule if group not in groups.values()]
        if missing:
            raise unknown("group", missing[0], sorted(set(groups.values())))
        return {name for name, group in groups.items() if group in rule}
    if not isinstance(rule, str) or not rule:
        return set()
    found = _listed(root / rule, names=list(groups))
    inside = {groups[name]: name for name in sorted(found)}
    left = next((name for name, group in groups.items() if group in inside and name not in found), None)
    if left is not None:
        raise DatasetError(
            f'{root / rule}: lists {inside[groups[left]]}, but not {left} of the same group, "{groups[left]}". List '
            "both, or remove group from [splits]."
        )
    return found


def _share(rule: float, *, groups: dict[str, str], taken: set[str], salt: str) -> set[str]:
    """Return the samples of a share of all groups, chosen among those that are not `taken`."""
    if not 0 < rule < 1:
        raise InputError(f"[splits] {salt} = {rule:g}: give a share above 0 and below 1.")
    every = set(groups.values())
    # By hash, not at random: a group stays in its split when others are added or removed.
    free = sorted(
        every - {groups[name] for name in taken}, key=lambda group: sha256_of_bytes(f"{salt}/{group}".encode())
    )
    count = max(1, round(rule * len(every)))
    return {name for name, group in groups.items() if group in free[:count]}


def _listed(path: Path, *, names: list[str]) -> set[str]:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: cannot be read as a list of samples ({error}).") from None
    wanted = {line for line in lines if line}
    known, by_stem = set(names), defaultdict(list)
    for name in names:
        by_stem[name.rsplit("/", 1)[-1]].append(name)
    found: dict[str, str | None] = {}
    for line in wanted:
        folder, _, last = line.rpartition("/")
        bare = last.rsplit(".", 1)[0]
        exact = next((text for text in (line, f"{folder}/{bare}" if folder else bare) if text in known), None)
        alike = by_stem.get(bare, [])
        if exact is None and len(alike) > 1:
            raise DatasetError(
                f'{path}: "{line}" may be {alike[0]} or {alike[1]}. Write the sample\'s whole name, with its folders.'
            )
        found[line] = exact or next(iter(alike), None)
    missing = sorted(line for line, name in found.items() if name is None)
    if missing:
        raise DatasetError(f'{path}: lists "{missing[0]}"{f" and {len(missing) - 1} more" if missing[1:] else ""}, '
                           "which the data set does not have.")  # fmt: skip
    return {name for name in found.values() if name is not None}
