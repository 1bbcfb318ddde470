"""A sink: `--sink counts:FILE`, one CSV line a frame with each class's number of pixels."""

from pathlib import Path

import numpy as np

from edgeseg.errors import InputError


class CountsKind:
    drawn = False

    def check(self, argument: str, *, force: bool) -> None:
        """Return if the file can be written; raises `InputError`."""
        if not argument or Path(argument).is_dir():
            raise InputError(f"counts:{argument}: name a file, such as counts:classes.csv.")
        if Path(argument).exists() and not force:
            raise InputError(f"{argument}: exists. Give --force to replace it.")

    def writes(self, argument: str) -> Path:
        return Path(argument)

    def sink(self, argument: str, context) -> "Counts":
        return Counts(Path(argument), classes=context.spec.classes)


class Counts:
    def __init__(self, path: Path, *, classes: tuple[str, ...]) -> None:
        self._path, self._classes, self._file = path, classes, None

    def __enter__(self) -> "Counts":
        self._file = self._path.open("w", encoding="utf-8")
        self._file.write(",".join(("frame", *self._classes)) + "\n")
        return self

    def write(self, view) -> bool:
        """Write the view's line, and go on."""
        counts = np.bincount(view.labels.reshape(-1), minlength=len(self._classes))[: len(self._classes)]
        self._file.write(",".join(map(str, (view.index, *counts))) + "\n")
        return True

    def __exit__(self, kind, error, trace) -> None:
        self._file.close()


SINK = CountsKind()
