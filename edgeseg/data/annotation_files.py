"""Annotation files of other tools: JSON and XML read strictly, and their images found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from edgeseg.core.parsing import parse_json, shown
from edgeseg.data.folder import no_folder
from edgeseg.errors import DatasetError, EdgesegError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MOST_BYTES = 2 << 30
"""Larger annotation files are refused; COCO's largest has half a gigabyte."""


def folder_of(place: str) -> Path:
    """Return the data set's folder; raises `DatasetError` if there is none."""
    root = Path(place)
    if not root.is_dir():
        raise DatasetError(no_folder(root))
    return root


def read_annotations(path: Path) -> Any:
    """Return the values in a JSON file; raises `DatasetError` if it cannot be read."""
    try:
        return parse_json(_content(path).decode("utf-8-sig"), where=str(path))
    except UnicodeDecodeError:
        raise DatasetError(f"{path}: is not text in UTF-8. Export it again.") from None
    except DatasetError:
        raise
    except EdgesegError as error:
        raise DatasetError(str(error)) from None


def read_xml(path: Path) -> ElementTree.Element:
    """Return the root element of an XML file; document types, whose entities may expand without end, are refused."""
    content = _content(path)
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise DatasetError(
            f"{path}: holds a document type or entities, which no annotation tool writes. Export it again."
        )
    try:
        return ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError, RecursionError) as error:
        raise DatasetError(f"{path}: is not XML: {error}. Export it again.") from None


def field_of(table: object, name: str, kind: type | tuple[type, ...], *, where: str) -> Any:
    """Return a field of a JSON object; raises `DatasetError` if it is missing or of another kind."""
    value = table.get(name) if isinstance(table, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        expected = " or ".join(each.__name__ for each in (kind if isinstance(kind, tuple) else (kind,)))
        raise DatasetError(f'{where}: "{name}" is missing or not {expected}. Export the annotations again.')
    return value


def find_image(name: str, *, places: Iterable[Path], where: str) -> Path:
    """Return the image that annotations name, looked for in some folders; names never lead out of them.

    Raises:
        DatasetError: it is in none of them.
    """
    plain = name.replace("\\", "/")
    tried = list(places)
    # Tools write paths of the machine that they ran on; then the file's own name has to do.
    for folder, inside in ((folder, inside) for inside in (plain, Path(plain).name) for folder in tried):
        candidate = folder / inside
        # A link in the folder is the user's own; a name with ".." or from the root is the file's.
        leads_out = ".." in Path(inside).parts or Path(inside).is_absolute()
        if candidate.is_file() and not (leads_out and not candidate.resolve().is_relative_to(folder.resolve())):
            return candidate
    there = " or ".join(str(folder) for folder in tried)
    raise DatasetError(
        f"{where}: names the image {shown(name)}, which is not in {there}. Copy it there, or export again."
    )


def sample_name(image: str) -> str:
    """Return the name of a sample from that of its image: with its folders, without suffix; "" of no file name."""
    path = Path(image.replace("\\", "/"))
    return path.with_suffix("").as_posix() if path.name else ""


def first_folder(root: Path, split: str, names: Iterable[str], *, holds: Callable[[Path], bool], what: str) -> Path:
    """Return the folder of a split: the first of `names` that `holds` what is needed, or `root` without a split.

    Raises:
        DatasetError: there is none; the message lists those that are there.
    """
    if not split:
        return root
    for name in names:
        if (root / name).is_dir() and holds(root / name):
            return root / name
    there = sorted(path.name for path in root.iterdir() if path.is_dir() and holds(path)) if root.is_dir() else []
    raise DatasetError(
        f'{root}: has no split "{split}": no folder {" or ".join(names)} with {what}. It has: '
        f"{', '.join(there) or 'none'}. Give [splits] in dataset.toml to divide it."
    )


def split_names(split: str) -> tuple[str, ...]:
    """Return the names that tools give to the folder of a split, ours first."""
    return {
        "train": ("train", "training", "Train"),
        "val": ("val", "valid", "validation", "Val", "Validation"),
        "test": ("test", "testing", "Test"),
    }.get(split, (split,))


def _content(path: Path) -> bytes:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise DatasetError(f"{path}: has more than {MOST_BYTES >> 30} GB. Split it.")
        return path.read_bytes()
    except OSError as error:
        raise DatasetError(
            f"{path}: cannot be read: {error.strerror}. Give the folder that the tool exported."
        ) from None
