"""A spec.toml for a net that edgeseg did not make: one to start with, and the check of its preprocessing."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.analyze.preprocess_check import PreprocessCheck
from edgeseg.core.spec_file import SPEC_FILE
from edgeseg.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeseg.core.progress import Progress
    from edgeseg.models import Model
    from edgeseg.models.spec_draft import DataFacts, SpecDraft
    from edgeseg.runtime import Session

__all__ = ["PreprocessCheck", "check_spec", "write_spec_draft"]


def write_spec_draft(
    model: str,
    *,
    weights: str | Path | None = None,
    size: tuple[int, int] | None = None,
    data: str | None = None,
    out: str | Path = SPEC_FILE,
    force: bool = False,
) -> SpecDraft:
    """Return the spec.toml that was written to `out` for a net of one's own or a model file, guesses marked.

    `model` is `package.module:factory`, or a file that `edgeseg adopt` takes (.onnx, .tflite, .xml, .mlpackage).

    `data` is a data set with the net's classes; `size` (height, width) is its input size where you know it.

    Raises:
        InputError: `out` exists, nothing that a net can be built from, or an argument that a model file does not take.
        Others as `edgeseg.models.spec_draft.draft_spec` and `edgeseg.data.open_dataset`.
    """
    from edgeseg.core.files import write_whole
    from edgeseg.deploy.foreign.reading import READERS
    from edgeseg.models.factory import is_factory
    from edgeseg.models.opening import open_model
    from edgeseg.models.resolve import bundled
    from edgeseg.models.spec_draft import draft_spec

    path = Path(out)
    if path.exists() and not force:
        raise InputError(f"{path}: exists already. Choose another --out, or replace it with --force.")
    if not path.parent.is_dir():
        raise InputError(f"{path.parent}: no such folder.")
    if Path(model).suffix.lower() in READERS:
        for given, name in ((weights, "weights"), (data, "data")):
            if given is not None:
                raise InputError(
                    f"--{name}: is for package.module:factory; a model file is described from itself alone."
                )
        found = file_draft(Path(model).expanduser(), size=size)
        write_whole(found.text.encode(), path)
        return found
    if model in bundled() or not is_factory(model):
        raise InputError(_not_a_net(model))
    file = None if weights is None else Path(weights).expanduser()
    draft = draft_spec(model, weights=file, size=size, data=None if data is None else _facts(data))
    open_model(model, weights=file, spec=draft.spec)
    write_whole(draft.text.encode(), path)
    return draft


def check_spec(
    model: Model,
    *,
    data: str,
    weights: str | Path | None = None,
    spec: str | Path | None = None,
    split: str = "val",
    limit: int = 16,
    on_progress: Progress | None = None,
) -> PreprocessCheck:
    """Return how a net scores on labelled images under the usual preprocessings, best first.

    `model` is a net, an artifact, or a model file that `edgeseg adopt` takes.

    Raises as `edgeseg.models.open_model` and `edgeseg.analyze.preprocess_check.check_preprocess`.
    """
    from edgeseg.analyze.preprocess_check import check_preprocess
    from edgeseg.data import open_dataset
    from edgeseg.models import open_model

    dataset = open_dataset(data, split=split)
    with _opened_artifact(model, spec=spec) as session:
        if session is not None:
            return check_preprocess(session, dataset, limit=limit, on_progress=on_progress)
    checkpoint = open_model(model, weights=weights, spec=spec)
    return check_preprocess(checkpoint, dataset, limit=limit, on_progress=on_progress)


def file_draft(file: Path, *, size: tuple[int, int] | None = None) -> SpecDraft:
    """Return the spec.toml to start with for a model file; raises as `edgeseg.deploy.foreign.starter.starter_spec`."""
    from edgeseg.core.parsing import parse_toml
    from edgeseg.core.records import decode_record
    from edgeseg.core.spec_file import GUESSED, SpecFile
    from edgeseg.deploy.foreign.starter import starter_spec
    from edgeseg.models.spec_draft import SpecDraft

    text = starter_spec(file, size=size)
    guessed = tuple(line.partition("=")[0].strip() for line in text.splitlines() if GUESSED in line)
    spec = decode_record(SpecFile, parse_toml(text, where="spec.toml"), where="spec.toml")
    return SpecDraft(text=text, spec=spec, guessed=guessed)


@contextmanager
def _opened_artifact(model: Model, *, spec: str | Path | None) -> Iterator[Session | None]:
    """Yield a session on an artifact or on a model file, which is adopted for the while; None for a net."""
    from edgeseg.core.artifact import MANIFEST
    from edgeseg.deploy.foreign.adopt import adopt
    from edgeseg.deploy.foreign.reading import READERS
    from edgeseg.runtime import load

    path = Path(model).expanduser() if isinstance(model, (str, Path)) else None
    if path is not None and (path / MANIFEST).is_file():
        with load(path) as session:
            yield session
    elif path is not None and path.suffix.lower() in READERS:
        with (
            tempfile.TemporaryDirectory(prefix="edgeseg-spec-") as place,
            load(adopt(path, spec=spec, out=Path(place) / "artifact").folder) as session,
        ):
            yield session
    else:
        yield None


def _facts(data: str) -> DataFacts:
    from edgeseg.data import open_dataset
    from edgeseg.models.spec_draft import DataFacts
    from edgeseg.train.project import fitting_size

    dataset = open_dataset(data, split="train")
    step = max(1, len(dataset) // 9)
    shapes = [dataset.load(index).labels.shape for index in range(0, len(dataset), step)]
    size = fitting_size([(height, width) for height, width in shapes])
    return DataFacts(name=dataset.name, classes=dataset.classes, size=size)


def _not_a_net(model: str) -> str:
    from edgeseg.models.resolve import MODEL_FILES

    path = Path(model).expanduser()
    if path.suffix.lower() in (".pth", ".pt", ".ckpt", ".safetensors", ".bin"):
        return (
            f"{model}: weights alone do not say which net they belong to. Name the code that builds it: edgeseg spec "
            f"package.module:factory --weights {model}."
        )
    if path.suffix.lower() in (".onnx", *MODEL_FILES):
        return f"{model}: is a model file. Print a spec.toml to start with: edgeseg adopt {model} > spec.toml"
    if path.exists() and not (path / "spec.json").exists():
        return (
            f"{model}: is neither weights nor a model file. Name the code that builds the net: package.module:factory."
        )
    return f"{model}: is a checkpoint, which has its own spec; only nets of your own (package.module:factory) need one."
