"""Models that can be converted: bundled checkpoints with their scores, and architectures."""

from __future__ import annotations

from dataclasses import dataclass

from edgeseg.core import registry
from edgeseg.models import Architecture, bundled, resolve_model
from edgeseg.models.checkpoint import read_spec, read_training
from edgeseg.models.lineage import original_of


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointListing:
    """One bundled checkpoint; `val_miou` is a fraction, measured as `training.json` says.

    `original` is the one that it was compressed from, if it was; `default` marks the one used when no name is given.
    """

    name: str
    architecture: str
    size: tuple[int, int]
    classes: int
    val_miou: float | None
    data: str
    licence: str
    original: str | None
    default: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchitectureListing:
    """One architecture that can be trained and converted."""

    name: str
    output_stride: int
    description: str
    paper: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelListing:
    """Everything that MODEL can name; `faults` are plug-ins that cannot be imported here, with the reason."""

    checkpoints: tuple[CheckpointListing, ...]
    architectures: tuple[ArchitectureListing, ...]
    faults: tuple[str, ...]


def list_models() -> ModelListing:
    """Return the bundled checkpoints and the registered architectures; a broken plug-in is listed with its reason."""
    plugins = registry.load_all("models")
    found = [plugin.value for plugin in plugins if isinstance(plugin.value, Architecture)]
    return ModelListing(
        checkpoints=tuple(_checkpoint(name) for name in bundled()),
        architectures=tuple(
            ArchitectureListing(
                name=item.name, output_stride=item.output_stride, description=item.description, paper=item.paper
            )
            for item in found
        ),
        faults=tuple(f"{plugin.name}: {plugin.fault}" for plugin in plugins if plugin.fault),
    )


def _checkpoint(name: str) -> CheckpointListing:
    folder = resolve_model(name)
    spec, training = read_spec(folder), read_training(folder)
    scores, data = training.get("val"), training.get("data")
    miou = scores.get("miou") if isinstance(scores, dict) else None
    source = data.get("train") if isinstance(data, dict) else None
    return CheckpointListing(
        name=name,
        architecture=spec.architecture,
        size=spec.size,
        classes=len(spec.classes),
        val_miou=miou if isinstance(miou, float) else None,
        data=source.get("name", "not stated") if isinstance(source, dict) else str(source or "not stated"),
        licence=spec.licence,
        original=original_of(folder),
        default=folder == resolve_model(None),
    )
