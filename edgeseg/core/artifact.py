"""The artifact: a folder with a manifest, the only thing that crosses to the device."""

from __future__ import annotations

import copy
import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeseg.core.files import read_json, sha256_of, sha256_of_bytes
from edgeseg.core.lineage import LineageStep
from edgeseg.core.quantization import CalibrationSet, QuantizationScheme
from edgeseg.core.records import encode, renamed
from edgeseg.core.spec import ModelSpec, TensorSpec
from edgeseg.core.temperature import Temperature
from edgeseg.errors import ArtifactError, EdgesegError

SCHEMA = 1
MANIFEST = "manifest.json"
# Fields that the first manifests did not have. Where they are empty they are left out of the manifest's hash, so that
# artifacts made before them stay intact.
LATER = (
    ("spec", "channels"),
    ("spec", "bypassed"),
    ("lineage", "steps"),
    ("calibration", "statistics"),
    ("", "temperature"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """One file of the artifact: path relative to its folder, SHA-256, size."""

    path: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fallback:
    """An op left on the default kernel or in float, and why."""

    op: str
    node: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionReport:
    """What a conversion did: ops, what fell back, with which tools, how long, how much memory."""

    ops_total: int
    ops_quantized: int
    fallbacks: tuple[Fallback, ...]
    tool_versions: dict[str, str]
    seconds: float
    peak_memory_mb: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """Where the weights come from: the checkpoint's name, the hash of its weights, and how it was trained.

    `steps` are the stages on the way, oldest first, `parents` the hashes of the weights they started from.
    """

    checkpoint: str
    weights_sha256: str
    training_command: str = ""
    training_data: str = ""
    seed: int | None = None
    parents: tuple[str, ...] = ()
    steps: tuple[LineageStep, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """The sample by which any engine can test itself.

    `image` is a PNG at the input's size, `input_sha256` the hash of the exact input tensor's bytes, `expected` the
    label map (PNG, input size) that this artifact gave on `engine` when it was made, `reference` the one of the float
    checkpoint in PyTorch. `min_agreement` is the share of pixels in which an engine must repeat `expected`.
    """

    image: str = field(metadata=renamed("picture"))
    input_sha256: str
    expected: str
    reference: str
    engine: str
    min_agreement: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """The artifact against the float checkpoint on `images` images, before labels:
    SQNR in dB of the logits, share of equal labels. An artifact that gives labels has no logits to compare.
    """

    engine: str
    images: int
    sqnr_db: float | None
    label_agreement: float
    max_abs_error: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Everything that is known of an artifact; `self_sha256` is the hash of all the rest.

    `temperature` is that of the float checkpoint, where it carries one; int8 logits are close enough to share it.
    """

    schema: int
    name: str
    created: str
    edgeseg_version: str
    format: str
    engine: str
    entry: str
    files: tuple[FileEntry, ...]
    spec: ModelSpec
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    scheme: QuantizationScheme
    target: str
    lineage: Lineage
    calibration: CalibrationSet | None
    golden: Golden
    parity: Parity
    report: ConversionReport
    licence: str
    notice: str = ""
    temperature: Temperature | None = None
    self_sha256: str = ""

    def sealed(self) -> Manifest:
        """Return the manifest with `self_sha256` set."""
        table = encode(self)
        assert isinstance(table, dict)
        return dataclasses.replace(self, self_sha256=_digest(table))


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A folder on disk whose manifest was read and found to be intact."""

    folder: Path
    manifest: Manifest

    @property
    def entry(self) -> Path:
        """The file or folder that the engine opens."""
        return self.folder / self.manifest.entry

    @property
    def sha256(self) -> str:
        """The hash that stands for the whole artifact: its manifest's, which holds every file's."""
        return self.manifest.self_sha256

    @property
    def size_bytes(self) -> int:
        """Bytes of the files that the engine needs, golden sample left out."""
        return sum(file.size_bytes for file in self.manifest.files if not file.path.startswith("golden/"))

    def verify_files(self) -> None:
        """Check that every file is there, whole and unchanged; raises `ArtifactError` naming the first that is not."""
        for file in self.manifest.files:
            _verify_file(self.folder, file)


def open_artifact(folder: Path | str) -> Artifact:
    """Return the artifact in `folder`, its manifest checked and every file's size and SHA-256 verified.

    Raises:
        ArtifactError: not an artifact, another schema, or a file that is missing, truncated or altered.
    """
    folder = Path(folder)
    path = folder / MANIFEST
    if not folder.exists():
        raise ArtifactError(f"{folder}: no such folder. Make an artifact with: edgeseg convert --target tflite")
    if not folder.is_dir():
        raise ArtifactError(f"{folder}: is a file; an artifact is a folder with a {MANIFEST}.")
    if not path.is_file():
        raise ArtifactError(
            f"{folder}: no {MANIFEST} in it, so it is no edgeseg artifact. Give a folder that edgeseg convert wrote."
        )
    artifact = Artifact(folder=folder, manifest=_read_manifest(path))
    artifact.verify_files()
    return artifact


def list_files(folder: Path) -> tuple[FileEntry, ...]:
    """Return an entry for every file below `folder` but the manifest and our marker, sorted by path."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in (MANIFEST, ".edgeseg"))
    return tuple(
        FileEntry(path=path.relative_to(folder).as_posix(), sha256=sha256_of(path), size_bytes=path.stat().st_size)
        for path in paths
    )


def _read_manifest(path: Path) -> Manifest:
    try:
        schema = json.loads(path.read_text(encoding="utf-8")).get("schema")
    except (ValueError, AttributeError, OSError) as error:
        raise ArtifactError(
            f"{path}: damaged, cannot be read as JSON ({error}). Copy or convert the artifact again."
        ) from None
    if schema != SCHEMA:
        raise ArtifactError(
            f"{path}: manifest schema {schema!r}; this edgeseg reads schema {SCHEMA}. Convert again or update edgeseg."
        )
    try:
        manifest = read_json(Manifest, path)
    except EdgesegError as error:
        raise ArtifactError(f"{path}: damaged: {error} Copy or convert the artifact again.") from None
    if manifest.self_sha256 != _digest(json.loads(path.read_text(encoding="utf-8"))):
        raise ArtifactError(
            f"{path}: was altered after the conversion (checksum mismatch). Copy or convert the artifact again."
        )
    return manifest


def _digest(manifest: dict[str, Any]) -> str:
    """Return the hash of a manifest's table as it stands in the file, so that it does not depend on today's names."""
    blank = {**copy.deepcopy(manifest), "self_sha256": ""}
    for part, key in LATER:
        table = blank.get(part) if part else blank
        if isinstance(table, dict) and not table.get(key):
            table.pop(key, None)
    return sha256_of_bytes(json.dumps(blank, sort_keys=True, ensure_ascii=False).encode())


def _verify_file(folder: Path, file: FileEntry) -> None:
    path = folder / file.path
    again = "Copy or convert the artifact again."
    if not path.is_file():
        raise ArtifactError(f"{path}: missing from the artifact. {again}")
    size_bytes = path.stat().st_size
    if size_bytes != file.size_bytes:
        raise ArtifactError(
            f"{path}: {size_bytes} bytes, but the manifest says {file.size_bytes}: truncated or replaced. {again}"
        )
    if sha256_of(path) != file.sha256:
        raise ArtifactError(f"{path}: its SHA-256 does not match the manifest: a byte was changed. {again}")
