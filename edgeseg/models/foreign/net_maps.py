"""Key maps of whole nets, only of those that compute the same as ours; matching shapes are not enough."""

from __future__ import annotations

from edgeseg.models.foreign.hugging_face import PUBLISHED_SEGFORMER_B0, SEGFORMER_B0_IN_TRANSFORMERS_5

NET_MAPS = (PUBLISHED_SEGFORMER_B0, SEGFORMER_B0_IN_TRANSFORMERS_5)
