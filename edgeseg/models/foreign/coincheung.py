"""CoinCheung/BiSeNet: BiSeNetV1 on ResNet-18 and BiSeNetV2, whose logits are resized, not shuffled, to full size."""

from __future__ import annotations

from edgeseg.core.spec import Preprocess
from edgeseg.models.foreign.key_map import KeyMap, conv_norm
from edgeseg.models.nets.bisenet_v2 import DETAIL_STAGES, SEMANTIC_STAGES

_SEMANTIC = ("segment.S3", "segment.S4", "segment.S5_4")
_DETAIL = [(stage, index) for stage, (_, count) in enumerate(DETAIL_STAGES) for index in range(count)]
# Its own means and deviations of Cityscapes.
_CITYSCAPES = Preprocess(mean=(0.3257, 0.3690, 0.3223), std=(0.2112, 0.2148, 0.2115))
_NOTES = {
    171: "171 classes are COCO-Stuff's, which this project normalizes with mean = [0.46962251, 0.4464104, 0.40718787] "
    "and std = [0.27469736, 0.27012361, 0.28515933]: say so in --spec."
}


def _numbered(theirs: str, ours: str) -> tuple[tuple[str, str], ...]:
    """Return pairs for a Sequential of two convolutions, each with its batch norm, that lie flat in theirs."""
    return tuple((f"{theirs}.{at}", f"{ours}.{at // 2}.{at % 2}") for at in range(4))


def _refinement(theirs: str, ours: str) -> tuple[tuple[str, str], ...]:
    return (
        *conv_norm({f"{theirs}.conv": f"{ours}.conv"}),
        (f"{theirs}.conv_atten", f"{ours}.attention.0"),
        (f"{theirs}.bn_atten", f"{ours}.attention.1"),
    )


def _expansions() -> tuple[tuple[str, str], ...]:
    pairs: list[tuple[str, str]] = []
    for stage, (_, count) in enumerate(SEMANTIC_STAGES):
        for index in range(count):
            theirs, ours = f"{_SEMANTIC[stage]}.{index}", f"semantic.{stage}.{index}"
            pairs += conv_norm({f"{theirs}.conv1": f"{ours}.gather"})
            pairs += [(f"{theirs}.conv2", f"{ours}.project")]
            if index:
                pairs += [(f"{theirs}.dwconv", f"{ours}.expand.0")]
            else:
                pairs += [(f"{theirs}.dwconv1", f"{ours}.expand.0"), (f"{theirs}.dwconv2", f"{ours}.expand.1")]
                pairs += _numbered(f"{theirs}.shortcut", f"{ours}.shortcut")
    return tuple(pairs)


COINCHEUNG_BISENET_V1 = KeyMap(
    layout="CoinCheung BiSeNetV1",
    net="bisenet_v1_resnet18",
    arguments={"nearest": True, "gate": "norm"},
    modules=(
        ("cp.resnet", "context.encoder"),
        *_refinement("cp.arm16", "context.refine16"),
        *_refinement("cp.arm32", "context.refine32"),
        *conv_norm(
            {
                "cp.conv_head32": "context.up32.1",
                "cp.conv_head16": "context.up16.1",
                "cp.conv_avg": "context.mean.1",
                "sp.conv1": "spatial.0",
                "sp.conv2": "spatial.1",
                "sp.conv3": "spatial.2",
                "sp.conv_out": "spatial.3",
                "ffm.convblk": "fusion.project",
                "ffm": "fusion.attention.1",
                "conv_out.conv": "head.0",
            }
        ),
        ("conv_out.conv_out", "head.2"),
    ),
    unused=("conv_out16", "conv_out32"),
    classifier="head.2.weight",
    preprocess=_CITYSCAPES,
    notes=_NOTES,
)
COINCHEUNG_BISENET_V2 = KeyMap(
    layout="CoinCheung BiSeNetV2",
    net="bisenet_v2",
    arguments={"activate_expansion": True, "activate_aggregation": True, "nearest": True},
    modules=(
        *conv_norm({f"detail.S{stage + 1}.{index}": f"detail.{at}" for at, (stage, index) in enumerate(_DETAIL)}),
        *conv_norm(
            {
                "segment.S1S2.conv": "stem.conv",
                "segment.S1S2.left.0": "stem.reduce",
                "segment.S1S2.left.1": "stem.stride",
                "segment.S1S2.fuse": "stem.fuse",
                "segment.S5_5.conv_gap": "context.project",
                "segment.S5_5.conv_last": "context.fuse",
                "head.conv": "head.0",
            }
        ),
        ("segment.S5_5.bn", "context.norm"),
        *_expansions(),
        ("bga.left1", "aggregate.detail_keep.0"),
        ("bga.left1.2", "aggregate.detail_keep.1"),
        ("bga.left2", "aggregate.detail_down.0"),
        ("bga.right1", "aggregate.semantic_up.0"),
        ("bga.right2", "aggregate.semantic_keep.0"),
        ("bga.right2.2", "aggregate.semantic_keep.1"),
        ("bga.conv", "aggregate.fuse"),
        ("head.conv_out.1", "head.2"),
    ),
    unused=("aux2", "aux3", "aux4", "aux5_4"),
    classifier="head.2.weight",
    preprocess=_CITYSCAPES,
    notes=_NOTES,
)
