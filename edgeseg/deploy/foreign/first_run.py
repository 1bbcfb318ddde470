"""The first inference of a foreign file, in a process of its own: nothing in such a file is trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeseg.core.artifact import Artifact, Manifest
from edgeseg.core.files import read_json, write_json
from edgeseg.errors import ArtifactError, InputError
from edgeseg.runtime.session.engine_choice import choose_backend, choose_engine
from edgeseg.runtime.session.isolated import Limits, run_isolated

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from typing import Any

    from numpy.typing import NDArray

_DRAFT, _INPUT, _OUTPUT = "draft.json", "draft-input.npy", "draft-output.npy"


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstRun:
    """The engine that ran, and its version."""

    engine: str
    version: str


def first_outputs(
    draft: Manifest,
    tensors: Sequence[NDArray[Any]],
    *,
    folder: Path,
    engine: str | None,
    limits: Limits,
    where: str,
) -> tuple[FirstRun, NDArray[Any]]:
    """Return the file's own outputs for input tensors, (N, ...) in the file's layout, and what ran it.

    `draft` is a manifest whose output is not known yet; `folder` holds the file. `where` is its name in messages.

    Raises:
        InputError: the engine crashes on the file, fails, or takes more than `limits`.
        MissingDependency, UnsupportedError, UnknownName: no engine here runs it.
    """
    try:
        write_json(draft, folder / _DRAFT)
        np.save(folder / _INPUT, np.stack(tensors))
        done = run_isolated(run_draft, FirstRun, folder=folder, engine=engine, threads=None, limits=limits)
        return done, np.asarray(np.load(folder / _OUTPUT, allow_pickle=False))
    except ArtifactError as error:
        # The advice for an artifact names a verb and a folder that there are not yet.
        text = str(error)
        for verb in (f"edgeseg verify {folder}", "edgeseg verify ARTIFACT", "edgeseg verify"):
            text = text.replace(verb, "edgeseg adopt")
        raise InputError(text.replace(f"{folder}", where, 1)) from None
    finally:
        for name in (_DRAFT, _INPUT, _OUTPUT):
            (folder / name).unlink(missing_ok=True)


def run_draft(folder: Path, *, engine: str | None, threads: int | None, prepare: Callable[[], None]) -> FirstRun:
    """Run the draft in `folder` on its inputs and write its outputs there; called in the child process."""
    manifest = read_json(Manifest, folder / _DRAFT)
    chosen = choose_engine(manifest, name=engine)
    backend = choose_backend(manifest, engine=chosen, threads=threads)
    prepare()
    runner = chosen.open(Artifact(folder=folder, manifest=manifest), backend=backend)
    try:
        outputs = [runner.run(tensor) for tensor in np.load(folder / _INPUT, allow_pickle=False)]
    except Exception as error:  # noqa: BLE001 - each engine has its own exceptions
        raise ArtifactError(f"{folder}: {chosen.name} failed on it: {' '.join(str(error).split())[:300]}") from None
    finally:
        runner.close()
    np.save(folder / _OUTPUT, np.stack(outputs))
    return FirstRun(engine=chosen.name, version=chosen.status().version)
