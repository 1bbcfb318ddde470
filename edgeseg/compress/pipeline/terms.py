"""Under which licence and with which notice a stage's result stands."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from edgeseg.train.data import open_pair

if TYPE_CHECKING:
    from edgeseg.compress.pipeline.stage import Job
    from edgeseg.core.spec import ModelSpec


def with_terms(spec: ModelSpec, *, job: Job) -> ModelSpec:
    """Return a spec with the recipe's licence and notice; by default its own licence and that of the data it used."""
    licence = job.licence or _joined(spec.licence, open_pair(job.data)[0].licence)
    return dataclasses.replace(spec, licence=licence, notice=job.notice or spec.notice)


def _joined(first: str, second: str) -> str:
    """Return both licences as one SPDX expression: the weights were made under both."""
    known = [part for part in dict.fromkeys((*first.split(" AND "), second)) if part]
    return " AND ".join(known)
