"""SegFormer of Hugging Face transformers: the keys of published files, and those of transformers 5."""

from __future__ import annotations

from edgeseg.models.encoders.mit import MIT_B0
from edgeseg.models.foreign.key_map import KeyMap, Split

_STAGES = tuple(enumerate(stage.blocks for stage in MIT_B0))
_PUBLISHED_BLOCK = {
    "layer_norm_1": "norm1",
    "attention.self.query": "attention.query",
    "attention.self.key": "attention.key",
    "attention.self.value": "attention.value",
    "attention.self.sr": "attention.reduce",
    "attention.self.layer_norm": "attention.norm",
    "attention.output.dense": "attention.project",
    "layer_norm_2": "norm2",
    "mlp.dense1": "feed_forward.expand",
    "mlp.dwconv.dwconv": "feed_forward.depthwise",
    "mlp.dense2": "feed_forward.project",
}
_BLOCK_5 = {
    "layernorm_before": "norm1",
    "attention.q_proj": "attention.query",
    "attention.k_proj": "attention.key",
    "attention.v_proj": "attention.value",
    "attention.sequence_reduction.sequence_reduction": "attention.reduce",
    "attention.sequence_reduction.layer_norm": "attention.norm",
    "attention.o_proj": "attention.project",
    "layernorm_after": "norm2",
    "mlp.fc1": "feed_forward.expand",
    "mlp.dwconv.dwconv": "feed_forward.depthwise",
    "mlp.fc2": "feed_forward.project",
}
_HEAD = (("decode_head.batch_norm", "decoder.norm"), ("decode_head.classifier", "decoder.classifier"))
# The four maps are concatenated coarsest first, and one linear layer fuses them; ours fuses each one separately.
_SPLITS = (
    Split(
        theirs="decode_head.linear_fuse.weight",
        ours=tuple(f"decoder.fuse.{index}.weight" for index in (3, 2, 1, 0)),
        axis=1,
    ),
)


def _blocks(names: dict[str, str], place: str) -> tuple[tuple[str, str], ...]:
    return tuple(
        (f"{place.format(stage=stage, block=block)}.{theirs}", f"encoder.stages.{stage}.blocks.{block}.{ours}")
        for stage, blocks in _STAGES
        for block in range(blocks)
        for theirs, ours in names.items()
    )


def _stages(names: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(
        (theirs.format(stage=stage), ours.format(stage=stage)) for stage, _ in _STAGES for theirs, ours in names.items()
    )


PUBLISHED_SEGFORMER_B0 = KeyMap(
    layout="Hugging Face SegFormer",
    net="segformer_b0",
    modules=(
        *_stages(
            {
                "segformer.encoder.patch_embeddings.{stage}.proj": "encoder.stages.{stage}.merge",
                "segformer.encoder.patch_embeddings.{stage}.layer_norm": "encoder.stages.{stage}.merge_norm",
                "segformer.encoder.layer_norm.{stage}": "encoder.stages.{stage}.norm",
                "decode_head.linear_c.{stage}.proj": "decoder.project.{stage}",
            }
        ),
        *_blocks(_PUBLISHED_BLOCK, "segformer.encoder.block.{stage}.{block}"),
        *_HEAD,
    ),
    splits=_SPLITS,
    classifier="decoder.classifier.weight",
)
SEGFORMER_B0_IN_TRANSFORMERS_5 = KeyMap(
    layout="Hugging Face SegFormer, transformers 5",
    net="segformer_b0",
    modules=(
        *_stages(
            {
                "segformer.stages.{stage}.patch_embeddings.proj": "encoder.stages.{stage}.merge",
                "segformer.stages.{stage}.patch_embeddings.layer_norm": "encoder.stages.{stage}.merge_norm",
                "segformer.stages.{stage}.layer_norm": "encoder.stages.{stage}.norm",
                "decode_head.linear_projections.{stage}.proj": "decoder.project.{stage}",
            }
        ),
        *_blocks(_BLOCK_5, "segformer.stages.{stage}.blocks.{block}"),
        *_HEAD,
    ),
    splits=_SPLITS,
    classifier="decoder.classifier.weight",
)
