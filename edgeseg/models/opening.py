"""Opens a model: a registered name, `package.module:factory`, a checkpoint; in Python also an `nn.Module`."""

from __future__ import annotations

import atexit
import copy
import dataclasses
import logging
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from edgeseg.core.spec import ModelSpec
from edgeseg.core.spec_file import SPEC_FILE, SpecFile, read_spec_file
from edgeseg.errors import CheckpointError, InputError
from edgeseg.models.architecture import architectures
from edgeseg.models.build import build, net_at, stride_of
from edgeseg.models.checkpoint import Checkpoint, at_size, load_checkpoint, save_checkpoint
from edgeseg.models.dry_run import check_logits
from edgeseg.models.factory import PATTERN, is_factory, module_folder, trust
from edgeseg.models.from_onnx.opening import FACTORY, is_onnx, open_onnx
from edgeseg.models.net_output import adapt, labels_of, logit
from edgeseg.models.resolve import bundled, resolve_model
from edgeseg.models.state_dict import check_values, fitted, load_weights, read_state_dict

if TYPE_CHECKING:
    from torch import Tensor

Model = str | Path | nn.Module | Checkpoint | None
"""Everything that names a model; None is the bundled default."""
_log = logging.getLogger(__name__)
LEAST_EQUAL = 0.999
"""Required label agreement of a net cut at its end, and resized by edgeseg, with the whole net."""


def open_model(
    model: Model,
    *,
    weights: str | Path | None = None,
    spec: str | Path | SpecFile | ModelSpec | None = None,
    size: tuple[int, int] | None = None,
) -> Checkpoint:
    """Return the net that `model` names, with its spec, in evaluation mode.

    A checkpoint (a folder, its weights file, or a bundled name) has weights and spec. A foreign net
    (`package.module:factory`, a module, a float ONNX file) needs a spec, and so does a registered name with the user's
    weights: `spec` is a spec.toml; by default one beside the weights or the factory's module is used. `size` (height,
    width) is another input size. A foreign net becomes a checkpoint in a temporary folder.

    Raises:
        InputError, UnknownName: no such model or file, or a factory, size or output that cannot be used.
        CheckpointError: weights that cannot be read or do not fit.
        RecipeError: a spec.toml that does not follow its schema.
    """
    if isinstance(model, Checkpoint):
        _refuse_extras(model.spec.name, weights=weights, spec=spec)
        return model if size is None else resized_checkpoint(model, size=size)
    if isinstance(model, nn.Module):
        made = _from_module(model, weights=weights, spec=spec)
        return made if size is None else resized_checkpoint(made, size=size)
    if is_onnx(model) and Path(str(model)).expanduser().is_file():
        return _from_onnx(Path(str(model)).expanduser(), weights=weights, spec=spec, size=size)
    text = None if model is None else str(model)
    if text is None or not needs_spec(text, weights=weights):
        _refuse_extras(text or "the default model", weights=weights, spec=spec)
        return load_checkpoint(resolve_model(text), size=size)
    made = _from_name(text, weights=None if weights is None else Path(weights).expanduser(), spec=spec)
    return made if size is None else resized_checkpoint(made, size=size)


def resized_checkpoint(checkpoint: Checkpoint, *, size: tuple[int, int]) -> Checkpoint:
    """Return a checkpoint for another input size (height, width); raises as `build.net_at`."""
    spec = at_size(checkpoint.spec, size=size)
    net = net_at(checkpoint.net, spec=spec, built_for=checkpoint.spec.size)
    return dataclasses.replace(checkpoint, spec=spec, net=net)


def needs_spec(text: str, *, weights: str | Path | None = None) -> bool:
    """Return whether a text names a net without a spec: `package.module:factory`, or a name with other weights."""
    if Path(text).expanduser().exists() or text in bundled():
        return False
    name = text.partition(":")[0]
    if name in architectures():
        return weights is not None and name == text
    return is_factory(text)


def _refuse_extras(name: str, *, weights: object, spec: object) -> None:
    for option, value in (("weights", weights), ("spec", spec)):
        if value is not None:
            raise InputError(
                f"{name} is a checkpoint, which has its own {option}. Omit --{option}, or name the net as "
                "package.module:factory."
            )


def _from_name(text: str, *, weights: Path | None, spec: str | Path | SpecFile | ModelSpec | None) -> Checkpoint:
    if is_factory(text):
        trust(text)
    said = _spec(spec, weights=weights, name=text)
    count = len(said.class_names)
    registered = not is_factory(text)
    output = None if registered else said.output
    # Fresh weights must be the same each time, so that a run that starts from them can be resumed.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = build(text, classes=count, size=said.size, arguments=said.arguments, output=output)
    if weights is not None:
        given = fitted(read_state_dict(weights), keys=set(net.state_dict()))
        load_weights(net, given, source=str(weights), advice="Check the factory's arguments and classes in the spec.")
    made = _described(net, said, name=text)
    return _kept(net, dataclasses.replace(made, output=None) if registered else made)


def _from_onnx(
    path: Path,
    *,
    weights: str | Path | None,
    spec: str | Path | SpecFile | ModelSpec | None,
    size: tuple[int, int] | None,
) -> Checkpoint:
    if weights is not None:
        raise InputError(f"{path}: an ONNX file contains its weights. Omit --weights.")
    opened = open_onnx(path, spec=_spec(spec, weights=path, name=str(path)), size=size)
    said = opened.spec
    adapt(opened.net, output=said.output, classes=len(said.class_names))
    return _kept(opened.net, _described(opened.net, said, name=FACTORY))


def _from_module(
    module: nn.Module, *, weights: str | Path | None, spec: str | Path | SpecFile | ModelSpec | None
) -> Checkpoint:
    kind = type(module)
    name = f"{kind.__module__}:{kind.__qualname__}"
    name = name if PATTERN.fullmatch(name) else f"{kind.__module__}:{kind.__name__}"
    trust(name)
    net = copy.deepcopy(module).float().cpu().eval()
    if weights is not None:
        path = Path(weights).expanduser()
        given = fitted(read_state_dict(path), keys=set(net.state_dict()))
        load_weights(net, given, source=str(path), advice="Give the weights of this net.")
    if isinstance(spec, ModelSpec):
        if spec.output is not None:
            adapt(net, output=spec.output, classes=len(spec.classes))
        check_logits(net, spec=spec)
        return _kept(net, spec)
    said = _spec(spec, weights=None if weights is None else Path(weights), name=name)
    adapt(net, output=said.output, classes=len(said.class_names))
    return _kept(net, _described(net, said, name=name))


def _spec(spec: str | Path | SpecFile | ModelSpec | None, *, weights: Path | None, name: str) -> SpecFile:
    if isinstance(spec, SpecFile):
        return spec
    if isinstance(spec, ModelSpec):
        raise InputError(f"{name}: a ModelSpec describes a net in memory. Give a spec.toml or a SpecFile.")
    if spec is not None:
        return read_spec_file(Path(spec).expanduser())
    places = [] if weights is None else [weights.parent]
    if is_factory(name):
        folder = module_folder(name)
        places += [] if folder is None else [folder]
    found = next((place / SPEC_FILE for place in places if (place / SPEC_FILE).is_file()), None)
    if found is None:
        looked = "".join(f" There is none in {place}." for place in places)
        raise InputError(
            f"{name}: classes, input size and preprocessing are not known.{looked} Write a {SPEC_FILE} and give it "
            f"with --spec {SPEC_FILE}."
        )
    return read_spec_file(found)


def _described(net: nn.Module, said: SpecFile, *, name: str) -> ModelSpec:
    """Return the spec of a net: the user's, with the output stride from a dry run."""
    stride = stride_of(net, name=name, classes=len(said.class_names), size=said.size)
    spec = said.model_spec(architecture=name, output_stride=stride)
    _prove_cut(net.eval(), spec)
    _look_at_one_channel(net, spec)
    return spec


@torch.no_grad()
def _prove_cut(net: nn.Module, spec: ModelSpec) -> None:
    """Raise `InputError` unless the net's own labels are those of its logits, resized, on a rendered street."""
    if spec.output is None or not spec.output.cut:
        return
    adapted = copy.deepcopy(net)
    x = _street(spec)
    logits = adapted(x)
    adapt(adapted, output=dataclasses.replace(spec.output, cut=False), classes=len(spec.classes))
    try:
        labels = adapted(x).argmax(1)
    except InputError:  # labels: without the cut there are no logits
        returned = labels_of(type(adapted).forward(adapted, x), output=spec.output)
        if returned is None:
            raise
        labels = returned
    resized = nn.functional.interpolate(logits, size=labels.shape[-2:], mode="bilinear", align_corners=False)
    equal = (resized.argmax(1) == labels).float().mean().item()
    if equal < LEAST_EQUAL:
        raise InputError(
            f"{spec.name}: without its last upsampling and activation, only {100 * equal:.2f} % of the labels stay "
            "the same. Keep them in the graph: cut = false in the spec's [output]."
        )


@torch.no_grad()
def _look_at_one_channel(net: nn.Module, spec: ModelSpec) -> None:
    """Log a warning where one channel is read as a logit, but looks like a probability on a rendered street."""
    if spec.output is None or spec.output.one_channel != "logit" or len(spec.classes) != 2:
        return
    first, second = net(_street(spec))[0]
    second = second + logit(spec.output.threshold)
    low, high = float(second.min()), float(second.max())
    if not first.any() and low >= 0 and high <= 1:
        _log.warning(
            "%s: its one channel holds %.3g to %.3g on a rendered street. They look like probabilities, but no sigmoid "
            "was found at its end, so they are read as logits. If they are probabilities, set one_channel = "
            '"probability" in the spec\'s [output].',
            spec.name,
            low,
            high,
        )


def _street(spec: ModelSpec) -> Tensor:
    """Return a rendered street as the net's input, (1, 3, H, W)."""
    from edgeseg.data.streets import render_street
    from edgeseg.pixels import prepare

    rule = dataclasses.replace(spec.preprocess, in_graph=False)
    return torch.from_numpy(prepare(render_street(2_026)[0], preprocess=rule, tensor=spec.inputs[0]))


def _kept(net: nn.Module, spec: ModelSpec) -> Checkpoint:
    """Return a checkpoint in a folder that is removed when this process ends."""
    state = net.state_dict()
    check_values(state, own=state, source=spec.name)
    parent = Path(tempfile.mkdtemp(prefix="edgeseg-model-"))
    atexit.register(shutil.rmtree, parent, ignore_errors=True)
    folder = parent / "checkpoint"
    try:
        complete = save_checkpoint(folder, net=net, spec=spec)
    except RuntimeError as error:  # safetensors: tensors that share memory
        raise CheckpointError(f"{spec.name}: the weights cannot be saved: {str(error).splitlines()[0]}") from error
    return Checkpoint(spec=complete, net=net.eval(), folder=folder)
