"""Label maps as a folder of PNG files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.core.files import MARKER, delete_stale, write_whole
from edgeseg.errors import InputError
from edgeseg.runtime.sinks.places import make_parent

if TYPE_CHECKING:
    from types import TracebackType

    from edgeseg.runtime.sinks.base import Sink, SinkContext, View

NAME = re.compile(r"\d{6,}\.png")


class LabelsKind:
    """`labels:FOLDER`."""

    drawn = False

    def check(self, argument: str, *, force: bool) -> None:
        """Raise `InputError` if the folder cannot be written, or contains files that must stay."""
        if not argument:
            raise InputError("labels: names no folder. Write for example --sink labels:out.")
        check_folder(Path(argument), force=force)

    def writes(self, argument: str) -> Path | None:
        """Return the folder."""
        return Path(argument)

    def sink(self, argument: str, context: SinkContext) -> Sink:
        """Return the sink."""
        return LabelFolder(argument, force=context.force)


class LabelFolder:
    """A folder of label maps: one PNG per frame, class indices as grey levels, each written atomically."""

    def __init__(self, folder: Path | str, *, force: bool = False) -> None:
        self._folder = Path(folder)
        self._force = force

    def __enter__(self) -> LabelFolder:
        check_folder(self._folder, force=self._force)
        try:
            for old in label_files(self._folder):
                old.unlink()
            (self._folder / MARKER).touch()
            delete_stale(self._folder)
        except OSError as error:
            raise InputError(f"{self._folder}: cannot be written: {error.strerror}.") from None
        return self

    def write(self, view: View) -> bool:
        """Write the labels; raises `InputError` if that fails."""
        import cv2

        path = self._folder / f"{view.index:06d}.png"
        _, encoded = cv2.imencode(".png", view.labels)
        try:
            write_whole(encoded.tobytes(), path)
        except OSError as error:
            raise InputError(f"{path}: cannot be written: {error.strerror}. Earlier frames are complete.") from None
        return True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


def label_files(folder: Path) -> list[Path]:
    """Return the files in a folder that are named like label maps, 000000.png and so on."""
    return sorted(path for path in folder.iterdir() if NAME.fullmatch(path.name) and path.is_file())


def check_folder(folder: Path, *, force: bool) -> None:
    """Raise `InputError` if a folder already has label maps: old and new ones would mix.

    With `force` old ones may be deleted, but only in a folder that edgeseg marked as its own.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; a folder is needed.")
    make_parent(folder / "0.png")
    old = label_files(folder)
    if not old:
        return
    files = "1 file" if len(old) == 1 else f"{len(old)} files"
    if not (folder / MARKER).exists():
        raise InputError(
            f"{folder}: holds {files} such as {old[0].name} that edgeseg did not write; it is left alone. "
            "Choose another folder."
        )
    if not force:
        raise InputError(
            f"{folder}: holds {files} of an earlier run. Choose another folder, or replace them with --force."
        )


SINK = LabelsKind()
