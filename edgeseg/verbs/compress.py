"""A compression recipe by name or file, with what the command line puts in its place, run or planned."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.compress.pipeline.recipe import PipelineRecipe, override_pipeline, read_pipeline
from edgeseg.compress.stages import Clock

if TYPE_CHECKING:
    from edgeseg.compress.pipeline.dry_run import PipelinePlan
    from edgeseg.compress.pipeline.run import CompressionResult, OnPipelineEvent


def plan(recipe: str | Path, *, data: str | None = None, init: str | None = None) -> PipelinePlan:
    """Return what `compress` would do with a recipe: each stage's net, pruned for real but not trained, and its steps.

    Raises as `compress` does before its first stage.
    """
    from edgeseg.compress.pipeline.dry_run import plan_pipeline

    return plan_pipeline(_read(recipe, data=data, init=init), clock=_clock())


def compress(
    recipe: str | Path,
    *,
    out: Path | None = None,
    data: str | None = None,
    init: str | None = None,
    resume: bool = False,
    only: str | None = None,
    command: str = "",
    on_event: OnPipelineEvent | None = None,
) -> CompressionResult:
    """Return the result of a recipe (a TOML file or a bundled name) in the folder `out`, `runs/<its name>` by default.

    `data` and `init` stand in for the recipe's data and start checkpoint. Raises as `edgeseg.compress.compress` does.
    """
    from edgeseg.compress.pipeline.run import compress as run

    read = _read(recipe, data=data, init=init)
    folder = out or Path("runs") / read.name
    return run(read, out=folder, resume=resume, only=only, on_event=on_event, command=command, clock=_clock())


def _clock() -> Clock:
    from edgeseg.analyze.latency_table import latency_table, time_net

    return Clock(
        table=lambda checkpoint, engine, threads, cache: latency_table(
            checkpoint, engine=engine, threads=threads, cache=cache
        ),
        net=lambda checkpoint, engine, threads: time_net(checkpoint, engine=engine, threads=threads),
    )


def _read(recipe: str | Path, *, data: str | None, init: str | None) -> PipelineRecipe:
    return override_pipeline(read_pipeline(recipe), data=data, init=init)
