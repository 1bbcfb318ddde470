"""Classes of data sets whose annotations hold names: shapes of annotation tools and categories."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgeseg.core.parsing import shown
from edgeseg.core.suggestions import unknown
from edgeseg.data.description import FILE
from edgeseg.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from edgeseg.data.description import Description

BACKGROUND = "background"
_IGNORE_INDEX = 255
_UNLABELLED = ("background", "_background_", "__ignore__")


@dataclass(frozen=True, slots=True, kw_only=True)
class NameMapping:
    """Maps labels to class indices; `outside` is the index of pixels that no shape covers."""

    classes: tuple[str, ...]
    names: dict[str, int] = field(default_factory=dict)
    outside: int = _IGNORE_INDEX
    ignore_index: int = _IGNORE_INDEX
    source: str = f"{FILE} [classes]"

    def indices(self, labels: Sequence[str], *, where: str) -> list[int]:
        """Return the class index of each label; raises `DatasetError` with the unknown ones and their number."""
        strange = Counter(label for label in labels if label not in self.names)
        if strange:
            listed = ", ".join(
                f"{shown(label)} ({count} shape{'s'[: count > 1]})" for label, count in strange.most_common(6)
            )
            more = f" and {len(strange) - 6} more" if len(strange) > 6 else ""
            raise DatasetError(
                f"{where}: label {listed}{more}, which {self.source} does not assign to a class. Add it there, or to "
                "[data] ignore."
            )
        return [self.names[label] for label in labels]


def map_names(description: Description, found: Iterable[str], *, covers: bool = False, name: str) -> NameMapping:
    """Return the mapping by `[classes]` and `ignore`; without them each label found is a class of its own.

    Pixels outside all shapes belong to the class "background" if there is one, else they are ignored. Without
    `[classes]` there is one, first of all, unless the annotations are meant to cover (`covers`) every pixel.

    Raises:
        UnknownName: `[classes]` names a label that the data set does not have.
        DatasetError: a value that is no name, a label in two classes, no label at all, or more than 255 classes.
    """
    labels = tuple(dict.fromkeys(found))
    ignored = dict.fromkeys(_texts("ignore", description.data.ignore), _IGNORE_INDEX)
    if description.classes:
        classes = tuple(description.classes)
        names = _given(description, labels=labels, name=name)
    else:
        kept = tuple(label for label in labels if label not in ignored and label.lower() not in _UNLABELLED)
        classes = kept if covers else (BACKGROUND, *kept)
        names = {label: index for index, label in enumerate(classes)}
        outside = classes.index(BACKGROUND) if BACKGROUND in classes else _IGNORE_INDEX
        names |= {label: outside for label in labels if label.lower() in _UNLABELLED}
        if not kept:
            raise DatasetError(f"{name}: no label in its annotations. Annotate it, or give [classes] in {FILE}.")
    if len(classes) > _IGNORE_INDEX:
        raise DatasetError(f"{name}: {len(classes)} classes; 255 are possible. Merge some in {FILE} [classes].")
    return NameMapping(
        classes=classes,
        names={**names, **ignored},
        outside=classes.index(BACKGROUND) if BACKGROUND in classes else _IGNORE_INDEX,
        source=f"{FILE} [classes]" if description.classes else "the data set",
    )


def _given(description: Description, *, labels: tuple[str, ...], name: str) -> dict[str, int]:
    names: dict[str, int] = {}
    for index, (entry, value) in enumerate(description.classes.items()):
        for label in _texts(entry, value if isinstance(value, tuple) else (value,)):
            if label in names:
                raise DatasetError(f'{FILE} [classes] {entry} = "{label}": another class has this label already.')
            if labels and label not in labels and label.lower() not in _UNLABELLED:
                raise unknown(f"label of {name}", label, labels)
            names[label] = index
    return names


def _texts(entry: str, values: Iterable[int | str]) -> tuple[str, ...]:
    found = tuple(values)
    wrong = next((value for value in found if not isinstance(value, str)), None)
    if wrong is not None:
        raise DatasetError(
            f"{FILE} {entry} = {wrong}: this data set's annotations hold names. Give the label in quotes."
        )
    return tuple(str(value) for value in found)
