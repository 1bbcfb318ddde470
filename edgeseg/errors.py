"""The whole exception tree.

EdgesegError                 exit status 1; says what, where, got, do
├── InputError               a path, image, folder or option that the user gave cannot be used
│   ├── UnknownName          a name that is not in the list (did you mean ...?)
│   └── DatasetError         an inconsistent data set, with every fault by file name
├── RecipeError              a TOML or JSON file that does not follow its schema
├── ArtifactError            an artifact that is incomplete, altered or not one of ours
├── CheckpointError          weights and spec that do not fit each other
├── MissingDependency        a library that is not installed; names the extra that brings it
├── UnsupportedError         a combination that a converter, engine or target cannot do
├── ConversionError          a vendor tool that failed, with its own words
├── CameraError              a source that does not open or stops giving frames
├── TrainingError            a run that cannot go on (NaN, out of memory, wrong resume)
└── GateError                exit status 3: a proof or a gate that did not hold
"""

from __future__ import annotations

import unicodedata

_UNPRINTABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})
_BIDI = frozenset(map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A))))


def unprintable(letter: str) -> bool:
    """Return whether a character could move the cursor, colour or reorder the text of a terminal, or ends no file.

    These are control characters (escape sequences begin with one), lone surrogates, line and paragraph separators, and
    the marks that turn the direction of writing ("Trojan Source", CVE-2021-42574).
    """
    return not letter.isprintable() and (unicodedata.category(letter) in _UNPRINTABLE or letter in _BIDI)


def printable(text: object, *, keep: str = "") -> str:
    r"""Return `text` with every character but those in `keep` that a terminal may not print written as an escape.

    >>> printable("road\x1b[31m")
    'road\\x1b[31m'
    """
    return "".join(
        letter if letter in keep or letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in str(text)
    )


class EdgesegError(Exception):
    """Base of every error that edgeseg raises on purpose; its text is one clear message for the user.

    A message often holds a name out of somebody's file, so whatever a terminal would obey is escaped in it.
    """

    exit_status = 1

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(message, keep="\n\t"))


class InputError(EdgesegError):
    """A path, image, folder or option that the user gave cannot be used."""


class UnknownName(InputError):
    """A name that is not registered; the message suggests the nearest one."""


class DatasetError(InputError):
    """An inconsistent data set; `problems` lists each fault by file name."""

    def __init__(self, message: str, problems: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.problems = problems


class RecipeError(EdgesegError):
    """A TOML or JSON file that does not follow its schema."""


class ArtifactError(EdgesegError):
    """An artifact that is incomplete, altered or not one of ours."""


class CheckpointError(EdgesegError):
    """Weights and spec that do not fit each other, or a file that is not a checkpoint."""


class MissingDependency(EdgesegError):
    """A library that is not installed; the message names the extra that brings it."""


class UnsupportedError(EdgesegError):
    """A combination that a converter, an engine or a target cannot do."""


class ConversionError(EdgesegError):
    """A vendor tool that failed, with its own words."""


class CameraError(EdgesegError):
    """A source that does not open or stops giving frames."""


class TrainingError(EdgesegError):
    """A training run that cannot go on."""


class GateError(EdgesegError):
    """A proof or a gate that did not hold; exit status 3."""

    exit_status = 3
