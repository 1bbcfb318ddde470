"""The stage `finetune`: training on labels only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edgeseg.compress.pipeline.training_stage import NoSettings, TrainingStage


@dataclass(frozen=True, kw_only=True)
class FinetuneStage(TrainingStage):
    """Trains on labels only, as `edgeseg train` does."""

    name: ClassVar[str] = "finetune"
    does: ClassVar[str] = "train on labels"

    settings: NoSettings
