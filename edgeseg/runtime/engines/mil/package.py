"""The files of an `.mlpackage`: its specification and its weights."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeseg.core.files import read_json_value
from edgeseg.errors import ArtifactError, EdgesegError, UnsupportedError
from edgeseg.runtime.engines.mil.schema import model_class

_MANIFEST = "Manifest.json"
# One record of weight.bin (coremltools, MILBlob/Blob/StorageFormat.hpp): sentinel, type, size and offset in bytes.
RECORD = struct.Struct("<IIQQ")
SENTINEL = 0xDEADBEEF


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """The specification's protobuf message, and the folder that its weight files are named from."""

    spec: Any
    folder: Path

    @property
    def function(self) -> Any:
        """The program's only function; raises `UnsupportedError` for several."""
        functions = self.spec.mlProgram.functions
        if len(functions) != 1:
            raise UnsupportedError(f"{self.folder}: {len(functions)} functions; the reference evaluator takes one.")
        return next(iter(functions.values()))


def open_package(path: Path) -> Package:
    """Return the package at `path`.

    Raises:
        ArtifactError: not a package, or a damaged one.
        UnsupportedError: a model that is not an ML program.
        MissingDependency: coremltools is not installed.
    """
    model = _model_path(path)
    message = model_class()()
    try:
        message.ParseFromString(model.read_bytes())
    except Exception as error:  # noqa: BLE001 - protobuf's error class differs between its versions
        raise ArtifactError(f"{model}: not a Core ML specification ({error}). Convert the artifact again.") from None
    if message.WhichOneof("Type") != "mlProgram":
        kind = message.WhichOneof("Type")
        raise UnsupportedError(f'{model}: a "{kind}" model; the reference evaluator runs ML programs only.')
    return Package(spec=message, folder=model.parent)


def read_blob(path: Path, *, offset: int) -> bytes:
    """Return the bytes of the record at `offset` of a weight file; raises `ArtifactError` where there is none."""
    try:
        with path.open("rb") as stream:
            stream.seek(offset)
            sentinel, _, size_bytes, start = RECORD.unpack(stream.read(RECORD.size))
            if sentinel != SENTINEL:
                raise ArtifactError(f"{path}: no weights at byte {offset}. Convert the artifact again.")
            stream.seek(start)
            data = stream.read(size_bytes)
    except (OSError, struct.error) as error:
        raise ArtifactError(f"{path}: cannot be read at byte {offset} ({error}). Convert the artifact again.") from None
    if len(data) != size_bytes:
        raise ArtifactError(f"{path}: ends within the weights at byte {offset}. Convert the artifact again.")
    return data


def _model_path(path: Path) -> Path:
    try:
        manifest: Any = read_json_value(path / _MANIFEST)
        entry = manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]
        model = (path / "Data" / str(entry["path"])).resolve()
        model.relative_to(path.resolve())
    except (EdgesegError, OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"{path}: not a Core ML package ({type(error).__name__}: {error}). Convert again."
        ) from None
    return model
