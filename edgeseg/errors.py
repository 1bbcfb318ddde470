"""The whole exception tree.

EdgesegError                 exit status 1; says what, where, got, do
├── InputError               a path, image, folder or option that the user gave cannot be used
│   ├── UnknownName          a name that is not in the list (did you mean ...?)
│   └── DatasetError         a data set that does not hold together, with every problem by file name
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


class EdgesegError(Exception):
    """Base of every error that edgeseg raises on purpose; its text is one clear message for the user."""

    exit_status = 1


class InputError(EdgesegError):
    """A path, image, folder or option that the user gave cannot be used."""


class UnknownName(InputError):
    """A name that is in no list; the message holds the nearest ones."""


class DatasetError(InputError):
    """A data set that does not hold together; `problems` lists each one by file name."""

    def __init__(self, message: str, problems: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.problems = problems


class RecipeError(EdgesegError):
    """A TOML or JSON file that does not follow its schema."""


class ArtifactError(EdgesegError):
    """An artifact that is incomplete, altered or not one of ours."""


class CheckpointError(EdgesegError):
    """Weights and spec that do not fit each other, or a file that is none."""


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
