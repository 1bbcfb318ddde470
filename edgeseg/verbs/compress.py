"""Run or plan a compression recipe, given by name or file, optionally with other data or another start."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.compress.pipeline.recipe import override_pipeline, read_pipeline, recipe_file
from edgeseg.compress.pipeline.stage import LatencyProbe
from edgeseg.core.recipe_lines import with_lines

if TYPE_CHECKING:
    from edgeseg.compress.pipeline.dry_run import PipelinePlan
    from edgeseg.compress.pipeline.registry import InstalledStage
    from edgeseg.compress.pipeline.run import CompressionResult, OnPipelineEvent
    from edgeseg.compress.pipeline.schema import PipelineRecipe


def stages() -> tuple[InstalledStage, ...]:
    """Return the stages that recipes can use, including other packages'; a broken one has its reason in `fault`."""
    from edgeseg.compress.pipeline.registry import installed_stages

    return installed_stages()


def plan_compression(
    recipe: str | Path,
    *,
    data: str | None = None,
    init: str | None = None,
    weights: str | Path | None = None,
    spec: str | Path | None = None,
) -> PipelinePlan:
    """Return what `compress` would do with a recipe: each stage's net, pruned for real but not trained, and its steps.

    Raises as `run_pipeline` does before its first stage.
    """
    from edgeseg.compress.pipeline.dry_run import plan_pipeline

    with with_lines(recipe_file(recipe)):
        return plan_pipeline(_read(recipe, data=data, init=init, weights=weights, spec=spec), probe=_probe())


def compress(
    recipe: str | Path,
    *,
    out: str | Path | None = None,
    data: str | None = None,
    init: str | None = None,
    weights: str | Path | None = None,
    spec: str | Path | None = None,
    resume: bool = False,
    only: str | None = None,
    command: str = "",
    on_event: OnPipelineEvent | None = None,
) -> CompressionResult:
    """Return the result of a recipe (a TOML file or a bundled name) in the folder `out`, `runs/<its name>` by default.

    `data` and `init` replace the recipe's data and start checkpoint; `weights` and `spec` belong to a start that is
    `package.module:factory`. Raises as `edgeseg.compress.pipeline.run.run_pipeline` and `edgeseg.models.open_model` do.
    """
    from edgeseg.compress.pipeline.run import run_pipeline as run

    with with_lines(recipe_file(recipe)):
        read = _read(recipe, data=data, init=init, weights=weights, spec=spec)
        folder = Path(out) if out is not None else Path("runs") / read.name
        return run(read, out=folder, resume=resume, only=only, on_event=on_event, command=command, probe=_probe())


def _probe() -> LatencyProbe:
    from edgeseg.analyze.latency_table import latency_table, time_net

    return LatencyProbe(
        table=lambda checkpoint, engine, threads, cache: latency_table(
            checkpoint, engine=engine, threads=threads, cache=cache
        ),
        net=lambda checkpoint, engine, threads: time_net(checkpoint, engine=engine, threads=threads),
    )


def _read(
    recipe: str | Path, *, data: str | None, init: str | None, weights: str | Path | None, spec: str | Path | None
) -> PipelineRecipe:
    from edgeseg.models.opening import needs_spec, open_model

    read = override_pipeline(read_pipeline(recipe), data=data, init=init)
    if weights is None and spec is None and not needs_spec(read.model):
        return read
    start = open_model(read.model, weights=weights, spec=spec)
    return override_pipeline(read, init=str(start.folder))
