"""Iterative pruning: prune a little, fine-tune, and again, down to the budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgeseg.compress.budget import Budget
from edgeseg.compress.prune import Pruned, save
from edgeseg.errors import InputError
from edgeseg.models import Checkpoint, load_checkpoint
from edgeseg.models.resolve import SPEC_FILE

PruneOnce = Callable[[Checkpoint, Budget], Pruned]
"""Prunes a checkpoint to a budget that is relative to this checkpoint: `prune` with everything else bound."""
FineTune = Callable[[Path, Path], Path]
"""Trains from a checkpoint folder into a run's folder, going on where it was broken off; returns the checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """The folders of one round: the net as it was cut, and as it was fine-tuned."""

    pruned: Path
    tuned: Path


def prune_in_rounds(
    start: Path,
    *,
    budget: Budget,
    rounds: int,
    prune_once: PruneOnce,
    fine_tune: FineTune,
    out: Path,
    start_ms: float | None = None,
) -> tuple[Round, ...]:
    """Return the rounds that bring the checkpoint at `start` to the budget, each fine-tuned before the next cut.

    Every round removes the same factor (Han et al., Learning both Weights and Connections, NeurIPS 2015, found
    iterations to lose less than one cut). A round whose pruned checkpoint is there already is not pruned again. A
    budget in milliseconds needs `start_ms`, the whole net's own time.

    Raises:
        InputError: fewer than one round, or a time without `start_ms`.
    """
    if budget.ms is not None and start_ms is None:
        raise InputError("Rounds to a budget in ms need start_ms, the net's own time on the engine. Measure it first.")
    steps = budget.steps(rounds) if start_ms is None else budget.steps_ms(rounds, start_ms=start_ms)
    done, parent = [], start
    for index, step in enumerate(steps, start=1):
        pruned = out / f"round-{index}" / "pruned"
        if not (pruned / SPEC_FILE).is_file():
            save(prune_once(load_checkpoint(parent), step), pruned)
        parent = fine_tune(pruned, out / f"round-{index}" / "run")
        done.append(Round(pruned=pruned, tuned=parent))
    return tuple(done)
