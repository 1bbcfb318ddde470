"""The artifacts that the page may run, and the files it may load."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeseg.core.artifact import open_artifact
from edgeseg.core.records import encode_record
from edgeseg.core.web_engines import WEB_ENGINES
from edgeseg.errors import InputError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgeseg.core.artifact import Artifact, Manifest
    from edgeseg.core.web_engines import WebEngine


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """An artifact on the page, with the engine that runs it there."""

    artifact: Artifact
    engine: WebEngine

    @property
    def files(self) -> frozenset[str]:
        """The files that the page loads, by their path in the artifact: the model, and the golden images."""
        manifest = self.artifact.manifest
        return frozenset((manifest.entry, *(sample.image for sample in manifest.golden.samples)))

    @property
    def model_sha256(self) -> str:
        """The hash of the model file."""
        manifest = self.artifact.manifest
        return next(file.sha256 for file in manifest.files if file.path == manifest.entry)

    def description(self, *, engine_version: str) -> dict[str, object]:
        """Return what the page reads, JSON-ready: names, tensors, preprocessing, classes, files with their hashes."""
        manifest = self.artifact.manifest
        hashes = {file.path: file.sha256 for file in manifest.files}
        golden = manifest.golden
        return {
            "name": manifest.name,
            "sha256": self.artifact.sha256,
            "bytes": self.artifact.size_bytes,
            "format": manifest.format,
            "precision": manifest.scheme.name,
            "engine": self.engine.name,
            "engine_version": engine_version,
            "model": {"path": manifest.entry, "sha256": self.model_sha256},
            "input": encode_record(manifest.inputs[0]),
            "output": encode_record(manifest.outputs[0]),
            "preprocess": encode_record(manifest.preprocess),
            "classes": list(manifest.spec.classes),
            "palette": [list(color) for color in manifest.spec.palette],
            "golden": [
                {"path": sample.image, "sha256": hashes[sample.image], "input_sha256": sample.input_sha256}
                for sample in golden.samples
            ],
            "min_agreement": golden.tolerances.get(self.engine.name, golden.min_agreement),
            "licence": manifest.licence,
            "notice": manifest.notice,
        }


def offer_of(folders: Sequence[Path | str]) -> tuple[Offer, ...]:
    """Return the offers of artifacts that are whole and that a browser can run.

    Raises:
        ArtifactError, UnsupportedError: one that is damaged, or that no browser runs.
        InputError: none, or the same one twice.
    """
    if not folders:
        raise InputError("No artifact was given. Give one or more folders that edgeseg convert wrote.")
    offers = []
    for folder in folders:
        artifact = open_artifact(folder)
        offers.append(Offer(artifact=artifact, engine=_web_engine(artifact.manifest)))
        if artifact.sha256 in [offer.artifact.sha256 for offer in offers[:-1]]:
            raise InputError(f"{folder}: this artifact was given twice. Give it once.")
    return tuple(offers)


def _web_engine(manifest: Manifest) -> WebEngine:
    found = next((engine for engine in WEB_ENGINES if engine.format == manifest.format), None)
    if found is None:
        able = " and ".join(engine.format for engine in WEB_ENGINES)
        raise UnsupportedError(
            f'{manifest.name}: no browser runs the format "{manifest.format}"; they run {able}. Convert the model with '
            "--target onnx or --target tflite."
        )
    if manifest.file is not None:
        raise UnsupportedError(
            f"{manifest.name}: the page cannot read an adopted file's own output yet. Convert the model with edgeseg "
            "convert FILE.onnx --spec spec.toml --target onnx."
        )
    return found
