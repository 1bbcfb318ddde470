r"""`dataset.toml`: the description of a data set whose layout alone is not enough.

It is in the data set's folder, or anywhere else with `root` naming that folder; every command accepts either.

    schema = 1
    reader = "pairs"                                # see `edgeseg.datasets` entry points; "folder" by default
    root = "/data/fundus"                           # the file's own folder by default
    [data]
    images = "photos/*.tif"                         # patterns, for the reader "pairs"
    labels = "masks/*_mask.png"
    range = [0, 4095]                               # of images of more than 8 bits
    ignore = [255, "#000000"]                       # ids or colours that are ignored
    [classes]                                       # in the order of the class indices
    background = 0
    vessel = [1, 2]                                 # or colours ("#804080"), or labels of shapes ("vessel")
    [splits]                                        # a list file, a share, or groups; the rest is train
    group = "^(patient\\d+)_"
    val = 0.2
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from edgeseg.core.files import read_toml
from edgeseg.data.decoding import Decoding, PixelRange
from edgeseg.data.label_maps import LabelColour, LabelMapping
from edgeseg.errors import DatasetError

FILE = "dataset.toml"
_SCHEMA = 1
_Value = int | str


@dataclass(frozen=True, slots=True, kw_only=True)
class DataTable:
    """`[data]`: where the files are, how they are decoded, and which labels are ignored."""

    images: str = ""
    """Pattern of the image files below the root; `{split}` is replaced by the split."""
    labels: str = ""
    """Pattern of the label files; the text that its first `*` matches must equal that of `images`."""
    range: PixelRange | None = None
    max_pixels: int | None = None
    ignore: tuple[_Value, ...] = ()

    def __post_init__(self) -> None:
        self.decoding()

    def decoding(self) -> Decoding:
        """Return the rules for decoding."""
        return Decoding(max_pixels=self.max_pixels, range=self.range)


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitsTable:
    """`[splits]` of a layout without splits: a list file, a share of the groups, or the groups themselves."""

    group: str = ""
    """Regular expression; its first group is the drive or patient of an image. Groups are never split."""
    val: str | float | tuple[str, ...] = ()
    test: str | float | tuple[str, ...] = ()

    @property
    def given(self) -> bool:
        """Whether any rule is given."""
        return bool(self.val or self.test)


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """The content of a dataset.toml; `source` is the file, None if there is none."""

    schema: int = _SCHEMA
    reader: str = "folder"
    root: str = ""
    data: DataTable = field(default_factory=DataTable)
    classes: dict[str, _Value | tuple[_Value, ...]] = field(default_factory=dict)
    splits: SplitsTable = field(default_factory=SplitsTable)

    def __post_init__(self) -> None:
        if self.schema != _SCHEMA:
            raise ValueError(f"schema is {self.schema}; this version reads schema = {_SCHEMA}.")
        if not self.label_names:
            self.mapping()

    @property
    def label_names(self) -> tuple[str, ...]:
        """The values that are neither ids nor colours: names of labels, for readers of shapes."""
        values = (*self.classes.values(), self.data.ignore)
        flat = (item for value in values for item in (value if isinstance(value, tuple) else (value,)))
        return tuple(item for item in flat if isinstance(item, str) and not item.startswith("#"))

    def mapping(self, source: str = f"{FILE} [classes]") -> LabelMapping | None:
        """Return the mapping of label values by `[classes]` and `ignore`; None without `[classes]`.

        Raises:
            ValueError: an invalid id or colour, a duplicate, ids mixed with colours, or more than 255 classes.
            DatasetError: a value is the name of a label.
        """
        if not self.classes:
            return None
        if len(self.classes) > 255:
            raise ValueError(f"[classes] has {len(self.classes)} classes; 255 are possible. Merge some.")
        if self.label_names:
            raise DatasetError(
                f'{source}: "{self.label_names[0]}" is not a colour; write "#rrggbb", for example "#804080". (Only '
                "annotations of shapes have labels with names.)"
            )
        given = [(name, index, self.classes[name]) for index, name in enumerate(self.classes)]
        ignored = [("ignore", 255, self.data.ignore)]
        ids: dict[int, int] = {}
        colours: dict[LabelColour, int] = {}
        for name, index, values in (*given, *ignored):
            for value in values if isinstance(values, tuple) else (values,):
                table, key = (ids, value) if isinstance(value, int) else (colours, parse_colour(value))
                if key in table:
                    raise ValueError(f"{name} = {value}: another class has this value already.")
                table[key] = index  # type: ignore[index]
        if ids and colours:
            raise ValueError("[classes] and ignore mix ids and colours; a label file holds one kind. Give one kind.")
        return LabelMapping(classes=tuple(self.classes), ids=ids, colours=colours, source=source)


def parse_colour(text: str) -> LabelColour:
    """Return (R, G, B) of "#rrggbb"; raises `ValueError` for anything else."""
    digits = text.removeprefix("#")
    if len(digits) != 6 or not text.startswith("#") or any(c not in "0123456789abcdefABCDEF" for c in digits):
        raise ValueError(f'"{text}" is not a colour; write "#rrggbb", for example "#804080".')
    return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16)


def read_description(path: Path | str, *, above: int = 0) -> Description:
    """Return the dataset.toml at `path`, in that folder, or up to `above` folders higher; defaults if there is none.

    `root` is returned as a resolved folder.

    Raises:
        RecipeError: the file does not follow the schema; names the key.
        DatasetError: `root` is not a folder.
    """
    path = Path(path)
    places = (path.resolve(), *path.resolve().parents[:above])
    files = [path] if path.suffix == ".toml" else [place / FILE for place in places]
    found = next((file for file in files if file.is_file()), None)
    if found is None:
        return Description(root=str(path))
    description = read_toml(Description, found)
    root = found.parent / description.root
    if not root.is_dir():
        raise DatasetError(f'{found}: root = "{description.root}" is not a folder. Give the data set\'s folder.')
    return replace(description, root=str(root))
