"""Devices as data, one TOML file each. Third parties add theirs through the entry-point group `edgeseg.targets`."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from edgeseg.core.files import read_toml
from edgeseg.core.suggestions import unknown
from edgeseg.core.target import Target
from edgeseg.core.target_names import check_target
from edgeseg.errors import EdgesegError, InputError, RecipeError
from edgeseg.targets.chips import find_chip
from edgeseg.toolchains.left_out import find_left_out

__all__ = ["BrokenTarget", "broken_targets", "find_target", "load_targets"]

GROUP = "edgeseg.targets"


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenTarget:
    """A target file or package of targets that cannot be read, with the reason; the others are not affected."""

    name: str
    reason: str


def load_targets() -> tuple[Target, ...]:
    """Return all readable targets, ours and third parties', sorted by name."""
    return _load()[0]


def broken_targets() -> tuple[BrokenTarget, ...]:
    """Return the registered targets that cannot be read, with reasons."""
    return _load()[1]


def find_target(text: str) -> Target:
    """Return the target called `text`, or the one in the file `text` if it ends in .toml.

    Raises:
        UnknownName: no such target; names the nearest one.
        InputError: no such file.
        RecipeError: the file does not follow the schema, or names a format, engine, delegate, option, precision or
            camera that is not registered.
    """
    if text.endswith(".toml"):
        return _read(Path(text).expanduser())
    targets, broken = _load()
    for target in targets:
        if target.name == text:
            return target
    for fault in broken:
        if fault.name == text:
            raise RecipeError(f'Target "{text}" cannot be read: {fault.reason}')
    raise unknown("target", text, (target.name for target in targets))


def _load() -> tuple[tuple[Target, ...], tuple[BrokenTarget, ...]]:
    targets: dict[str, Target] = {}
    broken: list[BrokenTarget] = []
    # Ours first: a third party's file may add a device but not replace one of ours.
    points = sorted(entry_points(group=GROUP), key=lambda point: (point.value != __name__, point.name))
    for point in points:
        for path in _files(point, broken):
            _take(path, targets, broken)
    return tuple(targets[name] for name in sorted(targets)), tuple(broken)


def _files(point: EntryPoint, broken: list[BrokenTarget]) -> list[Path]:
    try:
        package = import_module(point.value)
        folders = [Path(folder) for folder in package.__path__]
    except Exception as error:  # noqa: BLE001 - a third party's import may fail in any way; the others must still load
        broken.append(BrokenTarget(name=point.name, reason=f"{type(error).__name__}: {error}"))
        return []
    return sorted(path for folder in folders for path in folder.glob("*.toml"))


def _read(path: Path) -> Target:
    target = read_toml(Target, path)
    try:
        check_target(target)
        for backend in target.backends:
            if backend.chip:
                find_chip(backend.chip)
            if backend.left_out:
                find_left_out(backend.left_out)
    except EdgesegError as error:
        raise RecipeError(f"{path}: {error}") from None
    return target


def _take(path: Path, targets: dict[str, Target], broken: list[BrokenTarget]) -> None:
    try:
        target = _read(path)
        if target.name != path.stem:
            raise InputError(f'{path.name}: name = "{target.name}" must equal the file\'s name, "{path.stem}".')
        if target.name in targets:
            raise InputError(f"{path}: another file already describes this device.")
    except EdgesegError as error:
        broken.append(BrokenTarget(name=path.stem, reason=str(error)))
        return
    targets[target.name] = target
