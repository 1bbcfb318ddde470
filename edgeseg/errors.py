"""The exception tree.

EdgesegError                 exit status 1; says what, where, got, do
├── InputError               a path, image, folder or option that the user gave cannot be used
│   ├── UnknownName          a name that is not in the list (did you mean ...?)
│   └── DatasetError         an inconsistent data set, with every fault by file name
├── RecipeError              a TOML or JSON file that does not follow its schema
├── ArtifactError            an artifact that is incomplete, altered or not one of ours
├── CheckpointError          weights and spec that do not fit each other
├── MissingDependency        a library that is not installed; names the extra that installs it
├── UnsupportedError         a combination that a converter, engine or target does not support
├── ConversionError          a vendor tool that failed, with its own message
├── CameraError              a source that does not open or stops delivering frames
├── DeviceError              a remote device that cannot be reached or used
├── TrainingError            a run that cannot continue (NaN, out of memory, wrong resume)
└── GateError                exit status 3: a proof or a gate failed
"""

from __future__ import annotations

import unicodedata

_UNPRINTABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})
_BIDI = frozenset(map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A))))


def unprintable(letter: str) -> bool:
    """Return whether a character could move a terminal's cursor, colour or reorder its text, or cannot be encoded.

    These are control characters (escape sequences begin with one), lone surrogates, line and paragraph separators, and
    bidirectional marks ("Trojan Source", CVE-2021-42574).
    """
    return not letter.isprintable() and (unicodedata.category(letter) in _UNPRINTABLE or letter in _BIDI)


def printable(text: object, *, keep: str = "") -> str:
    r"""Return `text` with every unprintable character escaped, except those in `keep`.

    >>> printable("road\x1b[31m")
    'road\\x1b[31m'
    """
    return "".join(
        letter if letter in keep or letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in str(text)
    )


class EdgesegError(Exception):
    """Base of every error that edgeseg raises on purpose; its text is one clear message for the user.

    Messages often repeat names from files, so control sequences for terminals are escaped.
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
    """A library that is not installed; the message names the extra that installs it."""


class UnsupportedError(EdgesegError):
    """A combination that a converter, an engine or a target does not support."""


class ConversionError(EdgesegError):
    """A vendor tool that failed, with its own message."""


class CameraError(EdgesegError):
    """A source that does not open or stops delivering frames."""


class DeviceError(EdgesegError):
    """A remote device that cannot be reached, is not the one that was pinned, or cannot do what was asked."""


class TrainingError(EdgesegError):
    """A training run that cannot continue."""


class GateError(EdgesegError):
    """A proof or a gate that failed; exit status 3.

    `agreement` is the share of labels that were equal, where the gate was about labels.
    """

    exit_status = 3

    def __init__(self, message: str = "", *, agreement: float | None = None) -> None:
        super().__init__(message)
        self.agreement = agreement
