"""Parquet files of images and masks, as on the Hugging Face hub: data/train-00000-of-00002.parquet and so on.

A cell holds the bytes of an image file, or a struct with `bytes`. `[data] images` and `labels` name the columns where
they are not called as usual. Classes are those of `[classes]`, classes.txt or id2label.json. Nothing is unpacked.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeseg.core.files import sha256_of
from edgeseg.core.suggestions import unknown
from edgeseg.data.annotation_files import folder_of, read_annotations, split_names
from edgeseg.data.dataset import Sample
from edgeseg.data.folder import read_classes
from edgeseg.data.label_maps import LabelMapping, misfit, values_of
from edgeseg.data.licence import read_licence
from edgeseg.data.mapped_dataset import MappedDataset
from edgeseg.data.reading import decode_image
from edgeseg.errors import DatasetError, MissingDependency

if TYPE_CHECKING:
    from edgeseg.data.description import Description

IMAGES = ("image", "img", "pixel_values")
LABEL_COLUMNS = (
    "label",
    "mask",
    "annotation",
    "labels",
    "segmentation",
    "semantic_segmentation",
    "segmentation_mask",
    "seg",
)
HOW_TO_GET_PARQUET = 'Reading Parquet needs pyarrow: pip install "edgeseg[parquet]".'


@dataclass(frozen=True, slots=True, kw_only=True)
class ParquetRow:
    """Where a row lies: its file, the group of rows in it, the row in the group, and its number in the file."""

    file: Path
    group: int
    row: int
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ParquetDataset(MappedDataset[LabelMapping]):
    """Rows of Parquet files, each an image and its mask."""

    columns: tuple[str, str]
    rows: tuple[ParquetRow, ...]

    @property
    def content_rules(self) -> str:
        """The rules besides the files that decide the result of `load`."""
        ids, colours = sorted(self.mapping.ids.items()), sorted(self.mapping.colours.items())
        return f"{self.columns} {ids} {colours} {self.decoding.resolved().range}"

    def content_fingerprint(self) -> str:
        """Return a text that stands for the content: the files' hashes and the rules."""
        files = dict.fromkeys(row.file for row in self.rows)
        return " ".join((self.content_rules, *(sha256_of(path) for path in files)))

    def __len__(self) -> int:
        return len(self.rows)

    def item_id(self, index: int) -> str:
        """Return a row's name: its file's stem and its number."""
        return f"{self.rows[index].file.stem}/{self.rows[index].number:06d}"

    def load(self, index: int) -> Sample:
        """Return one image with its labels; raises a `DatasetError` that names the file and the row."""
        row = self.rows[index]
        group = _group(row.file, row.group, self.columns)
        places = [Path(f"{row.file}: row {row.number}, {column}") for column in self.columns]
        image, header = decode_image(places[0], _bytes(group[0][row.row], places[0]), decoding=self.decoding)
        values = values_of(places[1], _bytes(group[1][row.row], places[1]), decoding=self.decoding)
        if values.shape[:2] != header.upright:
            raise DatasetError(misfit(places[1], values.shape, image=header, name=f"in {self.columns[0]}"))
        return Sample(id=self.item_id(index), image=image, labels=self.mapping.class_indices(values, path=places[1]))


class ParquetReader:
    """Opens a folder of Parquet files whose names begin with the split."""

    summary = "Parquet files of image and mask, as on the Hugging Face hub: SPLIT-*.parquet, in the folder or in data"

    def open(self, place: str, /, *, split: str, description: Description) -> ParquetDataset:
        """Return the rows of a split.

        Raises:
            MissingDependency: pyarrow is not installed.
            DatasetError: no file of that split, one that is not Parquet, no column of images or masks, or no classes.
        """
        root = folder_of(place or description.root)
        files = _files(root, split)
        rows: list[ParquetRow] = []
        columns = ("", "")
        for path in files:
            opened = _opened(path)
            columns = _columns(opened.schema_arrow.names, path=path, description=description)
            number = 0
            for group in range(opened.num_row_groups):
                count = opened.metadata.row_group(group).num_rows
                rows += [ParquetRow(file=path, group=group, row=row, number=number + row) for row in range(count)]
                number += count
        if not rows:
            raise DatasetError(f"{files[0]}: has no rows.")
        return ParquetDataset(
            root=root,
            split=split,
            licence=read_licence(root),
            columns=columns,
            mapping=description.mapping() or _classes(root),
            rows=tuple(rows),
            decoding=description.data.decoding(),
        )


def _files(root: Path, split: str) -> tuple[Path, ...]:
    names = split_names(split) if split else ("*",)
    for folder in (root, root / "data"):
        for name in names:
            found = {
                *folder.glob(f"{name}-*.parquet"),
                *folder.glob(f"{name}.parquet"),
                *folder.glob(f"{name}/*.parquet"),
            }
            if found:
                return tuple(sorted(found))
    there = ", ".join(sorted(path.name for path in root.rglob("*.parquet"))[:6]) or "none"
    raise DatasetError(f'{root}: no Parquet file of the split "{split}" ({names[0]}-*.parquet). Found: {there}.')


@functools.lru_cache(maxsize=8)
def _opened(path: Path) -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingDependency(HOW_TO_GET_PARQUET) from None
    try:
        return pyarrow.parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise DatasetError(
            f"{path}: cannot be read as Parquet ({str(error).splitlines()[0]}). Copy it again."
        ) from None


@functools.lru_cache(maxsize=2)
def _group(path: Path, group: int, columns: tuple[str, str]) -> tuple[Any, Any]:
    import pyarrow

    try:
        table = _opened(path).read_row_group(group, columns=list(columns))
    except (pyarrow.ArrowException, OSError) as error:
        raise DatasetError(f"{path}: damaged ({str(error).splitlines()[0]}). Copy it again.") from None
    return table.column(columns[0]), table.column(columns[1])


def _columns(names: list[str], *, path: Path, description: Description) -> tuple[str, str]:
    chosen = []
    for given, usual, what in (
        (description.data.images, IMAGES, "images"),
        (description.data.labels, LABEL_COLUMNS, "labels"),
    ):
        if given and given not in names:
            raise unknown(f"column of {path.name}", given, names)
        found = given or next((name for name in usual if name in names), "")
        if not found:
            raise DatasetError(f"{path}: no column of {what} ({', '.join(names)}). Name it: [data] {what} = COLUMN.")
        chosen.append(found)
    return chosen[0], chosen[1]


def _bytes(cell: Any, where: Path) -> bytes:
    value = cell.as_py()
    content = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(content, bytes) or not content:
        raise DatasetError(
            f"{where}: holds no bytes of an image file. Choose another column with [data] in dataset.toml."
        )
    return content


def _classes(root: Path) -> LabelMapping:
    path = root / "id2label.json"
    if not path.is_file():
        return LabelMapping.indices(read_classes(root / "classes.txt"))
    table = read_annotations(path)
    if (
        not isinstance(table, dict)
        or not table
        or any(not key.isdecimal() or not isinstance(name, str) for key, name in table.items())
    ):
        raise DatasetError(f'{path}: is not a table of ids and names, such as {{"0": "road"}}.')
    pairs = sorted((int(key), name) for key, name in table.items())
    ids = {255: 255} | {value: index for index, (value, _) in enumerate(pairs)}
    return LabelMapping(classes=tuple(name for _, name in pairs), ids=ids, source=path.name)


READER = ParquetReader()
