"""Imports weights of other projects as checkpoints of our architectures, completely or not at all."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeseg.core.files import sha256_of
from edgeseg.core.spec import Preprocess
from edgeseg.core.spec_file import SpecFile
from edgeseg.errors import CheckpointError, InputError
from edgeseg.models.architecture import architecture
from edgeseg.models.build import build, classifier_keys
from edgeseg.models.checkpoint import save_checkpoint
from edgeseg.models.foreign.class_names import class_names
from edgeseg.models.foreign.key_map import KeyMap, best_map, translate
from edgeseg.models.foreign.net_maps import NET_MAPS, OTHER_LAYOUTS
from edgeseg.models.state_dict import OPTIONAL, check_values, fitted, read_state_dict

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

    from edgeseg.core.spec import ModelSpec


IMPORT_SIZE = (512, 512)
OWN_LAYOUT = "edgeseg"
_PREFIXES = ("module.", "model.", "net.")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedWeights:
    """The result of an import: the recognised layout, and every key by its fate.

    `fresh` are untrained classifier tensors: missing in the file, or there for other classes. `note` is what users of
    these weights have to know.
    """

    spec: ModelSpec
    layout: str
    matched: tuple[str, ...]
    dropped: tuple[str, ...]
    fresh: tuple[str, ...]
    note: str = ""


def import_weights(
    file: Path,
    out: Path,
    *,
    name: str,
    spec: SpecFile | None = None,
    size: tuple[int, int] | None = None,
    allow_missing: bool = False,
) -> ImportedWeights:
    """Write a checkpoint of the architecture `name` with the weights of a foreign file into the folder `out`.

    The layout is recognised by the keys, and the net is built as that project builds it. `spec` names classes, size and
    preprocessing; without one the classes are the file's own, with their names where it has them, and images are
    normalized as that project does. With `allow_missing` the classifier starts fresh if the file has none, or one for
    other classes; any other missing, unexpected or differently shaped tensor is refused.

    Raises:
        UnknownName: no such architecture.
        InputError: no such file, or one without a known number of classes, and no spec.
        CheckpointError: not weights, or not all weights of the net.
    """
    chosen = architecture(name)
    given = _unwrapped(read_state_dict(file))
    found = best_map(given, maps=(one for one in NET_MAPS if one.net == name))
    if spec is None or found is not None:
        _refuse_others(given, name=name, by=found, file=file)
    said = _described(spec, given, by=found, size=size, file=file)
    net = build(name, classes=len(said.class_names), size=said.size, arguments=said.arguments)
    own = net.state_dict()
    dropped: tuple[str, ...] = ()
    if found is None:
        given = fitted(given, keys=set(own))
        if not own.keys() & given.keys():
            _refuse_others(given, name=name, by=None, file=file)
    else:
        translated = translate(given, by=found)
        given, dropped = {**translated.tensors, **{key: given[key] for key in translated.unknown}}, translated.dropped
    layout = OWN_LAYOUT if found is None else found.layout
    given = {key: _shaped(value, own.get(key)) for key, value in given.items()}
    complete = said.model_spec(architecture=name, output_stride=chosen.output_stride)
    complete = dataclasses.replace(complete, output=None, name=said.name or file.stem)
    fresh = _accounted(
        given, own, layout=layout, file=file, replaceable=classifier_keys(complete) if allow_missing else set()
    )
    kept = {key: value for key, value in given.items() if key not in fresh}
    check_values(kept, own=own, source=str(file))
    net.load_state_dict(kept, strict=False)
    record = {"imported": {"file": file.name, "sha256": sha256_of(file), "layout": layout, "fresh": list(fresh)}}
    complete = save_checkpoint(out, net=net, spec=complete, training=record)
    return ImportedWeights(
        spec=complete,
        layout=layout,
        matched=tuple(kept),
        dropped=dropped,
        fresh=fresh,
        note="" if found is None else found.notes.get(len(complete.classes), ""),
    )


def _unwrapped(given: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict without wrapper prefixes that all of its keys share."""
    for prefix in _PREFIXES:
        if all(key.startswith(prefix) for key in given):
            return _unwrapped({key.removeprefix(prefix): value for key, value in given.items()})
    return given


def _refuse_others(given: Mapping[str, Tensor], *, name: str, by: KeyMap | None, file: Path) -> None:
    """Raise `CheckpointError` for weights of a net that none here computes, or that another map fits better."""
    other = next((item for item in OTHER_LAYOUTS if all(key in given for key in item.keys)), None)
    if other is not None:
        raise CheckpointError(f"{file}: recognised as {other.layout}, which no net here computes: {other.difference}")
    best = best_map(given, maps=NET_MAPS)
    if best is not None and best.net != name and (by is None or best.fit(given) > by.fit(given)):
        raise CheckpointError(f"{file}: recognised as {best.layout}, whose net is not {name}. Use --as {best.net}.")


def _described(
    spec: SpecFile | None,
    given: Mapping[str, Tensor],
    *,
    by: KeyMap | None,
    size: tuple[int, int] | None,
    file: Path,
) -> SpecFile:
    if spec is not None:
        _check_preprocess(spec, by=by, file=file)
        arguments = spec.arguments if by is None else {**spec.arguments, **by.arguments}
        return dataclasses.replace(spec, size=size or spec.size, arguments=arguments)
    classifier = None if by is None else translate(given, by=by).tensors.get(by.classifier)
    if by is None or classifier is None:
        raise InputError(f"{file}: has no classes in a known layout. Describe them: --spec spec.toml")
    count = int(classifier.shape[0])
    return SpecFile(
        schema=1,
        classes=class_names(file, count=count) or count,
        size=size or IMPORT_SIZE,
        preprocess=by.preprocess or Preprocess(),
        arguments=dict(by.arguments),
    )


def _check_preprocess(spec: SpecFile, *, by: KeyMap | None, file: Path) -> None:
    """Log a warning where a spec normalizes images otherwise than the project that the weights are from."""
    trained = None if by is None else by.preprocess
    if trained is not None and (trained.mean, trained.std) != (spec.preprocess.mean, spec.preprocess.std):
        _log.warning(
            "%s: this project normalizes with mean = %s, std = %s, the spec otherwise: check its [preprocess]",
            file,
            list(trained.mean),
            list(trained.std),
        )


def _shaped(value: Tensor, own: Tensor | None) -> Tensor:
    """Return a linear layer's weights in the shape of our 1x1 convolution, or the reverse."""
    if own is None or value.shape == own.shape or value.shape[:2] != own.shape[:2]:
        return value
    return value.reshape(own.shape) if value.numel() == own.numel() else value


def _accounted(
    given: Mapping[str, Tensor], own: Mapping[str, Tensor], *, layout: str, file: Path, replaceable: set[str]
) -> tuple[str, ...]:
    """Return the keys that start fresh; raises `CheckpointError` that lists what does not fit."""
    missing = [key for key in own if key not in given and not key.endswith(OPTIONAL)]
    unexpected = [key for key in given if key not in own]
    wrong = [key for key in own if key in given and own[key].shape != given[key].shape]
    fresh = tuple(key for key in (*missing, *wrong) if key in replaceable)
    shapes = [f"{key} {tuple(given[key].shape)} where the net has {tuple(own[key].shape)}" for key in wrong]
    faults = [
        f"{len(lines)} {what}, first {lines[0]}"
        for what, lines in (
            ("missing", [key for key in missing if key not in fresh]),
            ("left over", unexpected),
            ("of another shape", [line for key, line in zip(wrong, shapes, strict=True) if key not in fresh]),
        )
        if lines
    ]
    if faults:
        matched = sum(key in own for key in given) - len(wrong)
        raise CheckpointError(
            f"{file}: recognised as {layout}, {matched} of {len(own)} tensors match; {'; '.join(faults)}. Name the "
            "architecture of these weights, or train from their encoder alone ([model] encoder in a recipe)."
        )
    return fresh
