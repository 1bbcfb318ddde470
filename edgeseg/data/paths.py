"""File names of a data set: which files are images, and which split a path belongs to."""

from __future__ import annotations

from pathlib import Path

from edgeseg.errors import DatasetError

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
_SHOWN = 50
SPLITS = ("train", "val", "test")
_SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


def split_of(path: Path | str) -> str | None:
    """Return "train", "val" or "test" if one of the path's last two names contains it, else None.

    Only the last two names count: `camvid/images/val` and `val/images` do, `/home/test/streets/images` does not.
    """
    for part in reversed(Path(path).parts[-2:]):
        if part.lower() in _SPLIT_WORDS:
            return _SPLIT_WORDS[part.lower()]
    return None


def images_in(folder: Path) -> dict[str, Path]:
    """Return the images of a folder by stem, sorted by name; hidden files are skipped.

    Raises:
        DatasetError: a file of another type, or two images with the same stem.
    """
    found: dict[str, Path] = {}
    problems: list[str] = []
    for path in sorted(folder.iterdir(), key=lambda p: p.name):
        if path.name.startswith(".") or path.name in ("Thumbs.db", "desktop.ini"):
            continue
        if path.is_dir():
            problems.append(f"{path}: a folder, where only images belong. Move its images up or the folder away.")
        elif path.suffix.lower() not in IMAGE_SUFFIXES:
            kinds = ", ".join(IMAGE_SUFFIXES)
            problems.append(
                f"{path}: file type {path.suffix or '(none)'} is not an image ({kinds}). Convert or remove it."
            )
        elif path.stem in found:
            other = found[path.stem].name
            problems.append(f"{path}: has the same stem as {other}. Rename or remove one of the two.")
        else:
            found[path.stem] = path
    refuse(problems)
    return found


def refuse(problems: list[str]) -> None:
    """Raise one `DatasetError` that lists the problems, if there are any; its text has the first fifty and the last."""
    if not problems:
        return
    shown = problems
    if len(problems) > _SHOWN + 1:
        shown = [*problems[:_SHOWN], f"... and {len(problems) - _SHOWN - 1} more.", problems[-1]]
    raise DatasetError("\n".join(shown), tuple(problems))
