"""The artifact: a folder with a manifest, the only thing that crosses to the device."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgeseg.core.artifact_files import AGAIN, check_files, check_listed, list_entries
from edgeseg.core.backend import ResolvedBackend
from edgeseg.core.choice import Choice
from edgeseg.core.file_io import FileIO
from edgeseg.core.files import read_json_value
from edgeseg.core.gate import GateReport
from edgeseg.core.lineage import LineageStep
from edgeseg.core.manifest_schema import MANIFEST_SCHEMA, READABLE_MANIFEST_SCHEMAS, digest, migrated_manifest
from edgeseg.core.parsing import shown
from edgeseg.core.placement import CompilerEstimate, OpPlacement
from edgeseg.core.proof import Proof
from edgeseg.core.quantization import CalibrationSet, QuantizationScheme
from edgeseg.core.records import bounds, decode_record, encode_record, renamed
from edgeseg.core.spec import ModelSpec, Preprocess, TensorSpec
from edgeseg.core.temperature import Temperature
from edgeseg.errors import ArtifactError, EdgesegError

if TYPE_CHECKING:
    from collections.abc import Iterator

MANIFEST = "manifest.json"
Origin = Literal["converted", "compiled", "foreign"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """One file of the artifact: path relative to its folder, with slashes; SHA-256; size."""

    path: str
    sha256: str = field(metadata=bounds(items=(64, 64)))
    size_bytes: int = field(metadata=bounds(low=0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Fallback:
    """An op left on the default kernel or in float, and why."""

    op: str
    node: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionReport:
    """What a conversion did: ops, fallbacks, tool versions, duration, peak memory, and a compiler's estimate.

    `calibrator` is the vendor's quantizer that made the int8, with its version; empty where edgeseg did.
    """

    ops_total: int = field(metadata=bounds(low=0))
    ops_quantized: int = field(metadata=bounds(low=0))
    fallbacks: tuple[Fallback, ...]
    tool_versions: dict[str, str]
    seconds: float = field(metadata=bounds(low=0))
    peak_memory_mb: float = field(metadata=bounds(low=0))
    estimate: CompilerEstimate | None = None
    calibrator: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """Where the weights come from: the checkpoint's name, the hash of its weights, and how it was trained.

    `steps` are the stages that led to it, oldest first; `parents` are the hashes of the weights they started from.
    `source_artifact` is the hash of the artifact that a compiled one was made from.
    """

    checkpoint: str
    weights_sha256: str
    training_command: str = ""
    training_data: str = ""
    seed: int | None = None
    parents: tuple[str, ...] = ()
    steps: tuple[LineageStep, ...] = ()
    source_artifact: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenSample:
    """One sample with which any engine can be tested; paths are relative to the artifact's folder.

    `image` is a PNG at the input's size, `input_sha256` the hash of the exact input tensor's bytes, `expected` the
    label map (PNG, input size) that this artifact produced when it was made, and `reference` that of the float
    checkpoint in PyTorch; a foreign file has none, and both are its own. `output` is the raw output tensor behind
    `expected` (.npy), empty if nothing ran it.
    """

    image: str = field(metadata=renamed("picture"))
    input_sha256: str
    expected: str
    reference: str
    output: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden(GoldenSample):
    """The first golden sample, the others in `more`, and what is required of whoever repeats them.

    `engine` made them. `min_agreement` is the share of pixels in which an engine must match `expected`; `tolerances`
    holds the shares of engines for which another one is known. `min_sqnr_db` is the least ratio between `output` and
    the error of a repeated output, None for label maps.
    """

    engine: str
    min_agreement: float = field(metadata=bounds(low=0.5, high=1))
    more: tuple[GoldenSample, ...] = ()
    tolerances: dict[str, float] = field(default_factory=dict, hash=False, metadata=bounds(low=0.5, high=1))
    min_sqnr_db: float | None = None

    @property
    def samples(self) -> tuple[GoldenSample, ...]:
        """All samples, the first one first."""
        return (self, *self.more)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """The artifact against the float checkpoint on `images` images, without ground truth.

    `sqnr_db` is the logits' signal-to-quantization-noise ratio, `label_agreement` the share of equal labels. An
    artifact that ends with labels has no logits to compare.
    """

    engine: str
    images: int = field(metadata=bounds(low=0))
    sqnr_db: float | None
    label_agreement: float = field(metadata=bounds(low=0, high=1))
    max_abs_error: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The description of an artifact; `self_sha256` is the hash of everything else.

    `backend` says how the runtime runs it. `preprocess` is the artifact's own and may differ from its model's: with
    `in_graph = False` the host normalises. `proof` says how it was compared with the float checkpoint, `parity` how
    close it is, and `gate` every measure with its threshold, where a proof was possible; `choice` says why this
    precision and head were taken, if several were tried. `file` belongs to `origin` "foreign": the model file's own
    tensors. `temperature` is the float checkpoint's, if it has one; int8 logits are close enough to share it. `macs`
    are the net's multiply-accumulates per image at the input's size; None in artifacts made before they were counted.
    `schema` is the one the file was written in (`core.manifest_schema`).
    """

    schema: int
    name: str
    created: str
    edgeseg_version: str
    format: str
    backend: ResolvedBackend
    entry: str
    files: tuple[FileEntry, ...] = field(metadata=bounds(items=(1, None)))
    spec: ModelSpec
    preprocess: Preprocess
    inputs: tuple[TensorSpec, ...] = field(metadata=bounds(items=(1, 1)))
    outputs: tuple[TensorSpec, ...] = field(metadata=bounds(items=(1, 1)))
    scheme: QuantizationScheme
    target: str
    origin: Origin = "converted"
    file: FileIO | None = None
    lineage: Lineage
    calibration: CalibrationSet | None
    golden: Golden
    proof: Proof = field(default_factory=lambda: Proof(level="none"))
    parity: Parity
    gate: GateReport | None = None
    choice: Choice | None = None
    placements: tuple[OpPlacement, ...] = ()
    report: ConversionReport
    licence: str
    notice: str = ""
    temperature: Temperature | None = None
    macs: int | None = None
    self_sha256: str = ""

    @property
    def engine(self) -> str:
        """Name of the engine that the artifact was made for."""
        return self.backend.engine

    @property
    def output_position(self) -> int:
        """Which of the file's outputs is used; only foreign files have several."""
        return 0 if self.file is None else self.file.output.position

    def sealed(self) -> Manifest:
        """Return the manifest with `self_sha256` set."""
        current = dataclasses.replace(self, schema=MANIFEST_SCHEMA)
        table = encode_record(current)
        assert isinstance(table, dict)
        return dataclasses.replace(current, self_sha256=digest(table))


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A folder on disk with a verified manifest."""

    folder: Path
    manifest: Manifest

    @property
    def entry(self) -> Path:
        """The file or folder that the engine opens."""
        return self.folder / self.manifest.entry

    @property
    def sha256(self) -> str:
        """The hash of the whole artifact: its manifest's, which includes the hash of every file."""
        return self.manifest.self_sha256

    @property
    def size_bytes(self) -> int:
        """Size in bytes of the files that the engine needs, without the golden sample."""
        return sum(file.size_bytes for file in self.manifest.files if not file.path.startswith("golden/"))

    def verify_files(self) -> None:
        """Check that the folder holds exactly the files of the manifest, complete and unchanged.

        Raises:
            ArtifactError: naming the first file that is missing, altered, unlisted, or not a plain file in the folder.
        """
        check_files(self.folder, self.manifest.files)


def open_artifact(folder: Path | str) -> Artifact:
    """Return the artifact in `folder`, its manifest checked and every file's size and SHA-256 verified.

    Raises:
        ArtifactError: not an artifact, another schema, or a file that is missing, truncated, altered or not listed.
    """
    folder = Path(folder)
    path = folder / MANIFEST
    try:
        exists, is_folder, has_manifest = folder.exists(), folder.is_dir(), path.is_file()
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{folder}: cannot be opened: {error}.") from None
    if not exists:
        raise ArtifactError(f"{folder}: no such folder. Make an artifact with: edgeseg convert --target tflite")
    if not is_folder:
        do = (
            f"Give its folder: {folder.parent}"
            if folder.name == MANIFEST
            else "Make one of a model file: edgeseg adopt"
        )
        raise ArtifactError(f"{folder}: is a file; an artifact is a folder with a {MANIFEST}. {do}")
    if not has_manifest:
        raise ArtifactError(
            f"{folder}: not an edgeseg artifact: it holds no {MANIFEST}. Give a folder from edgeseg convert."
        )
    artifact = Artifact(folder=folder, manifest=_read_manifest(path))
    artifact.verify_files()
    return artifact


def list_files(folder: Path) -> tuple[FileEntry, ...]:
    """Return an entry for each file of an artifact's folder except manifest, marker and receipts, sorted by path."""
    return tuple(FileEntry(path=path, sha256=sha256, size_bytes=size) for path, sha256, size in list_entries(folder))


def _read_manifest(path: Path) -> Manifest:
    try:
        table: Any = read_json_value(path)
    except EdgesegError as error:
        raise ArtifactError(f"{error} The manifest is damaged. {AGAIN}") from None
    schema = table.get("schema") if isinstance(table, dict) else None
    if schema not in READABLE_MANIFEST_SCHEMAS or isinstance(schema, bool):
        raise ArtifactError(
            f"{path}: manifest schema {shown(schema)}; this edgeseg reads schemas {READABLE_MANIFEST_SCHEMAS[0]} to "
            f"{MANIFEST_SCHEMA}. "
            "Convert again or update edgeseg."
        )
    try:
        manifest = decode_record(Manifest, migrated_manifest(table), where=path.name)
    except EdgesegError as error:
        raise ArtifactError(f"{path}: damaged: {error} {AGAIN}") from None
    if manifest.self_sha256 != digest(table):
        raise ArtifactError(f"{path}: was altered after the conversion (checksum mismatch). {AGAIN}")
    check_listed(path, (("entry", manifest.entry), *_golden_paths(manifest.golden)), manifest.files)
    return manifest


def _golden_paths(golden: Golden) -> Iterator[tuple[str, str]]:
    for sample in golden.samples:
        yield from (("image", sample.image), ("expected", sample.expected), ("reference", sample.reference))
        if sample.output:
            yield "output", sample.output
