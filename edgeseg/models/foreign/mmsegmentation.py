"""mmsegmentation 0.x and 1.x: an EncoderDecoder of `backbone`, `decode_head` and `auxiliary_head`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeseg.models.encoders.mit import MIT_B0
from edgeseg.models.encoders.stdc import REPEATS
from edgeseg.models.foreign.key_map import KeyMap, Split, conv_norm
from edgeseg.models.nets.bisenet_v2 import DETAIL_STAGES, SEMANTIC_STAGES

if TYPE_CHECKING:
    from collections.abc import Iterable

Pairs = tuple[tuple[str, str], ...]

_ZERO_LABEL = "was trained with reduce_zero_label: class 0 is its label 1, and its label 0 is ignored"
_NOTES = {
    150: f"150 classes are ADE20K's, which {_ZERO_LABEL}, as the data set reader ade20k does.",
    59: f"59 classes are Pascal Context's, which {_ZERO_LABEL}.",
}
_AUXILIARY = ("auxiliary_head",)


def _separable(theirs: str, ours: str) -> Pairs:
    return conv_norm({f"{theirs}.depthwise_conv": f"{ours}.0", f"{theirs}.pointwise_conv": f"{ours}.1"})


def _fcn_head(ours: str = "head") -> Pairs:
    return (*conv_norm({"decode_head.convs.0": f"{ours}.0"}), ("decode_head.conv_seg", f"{ours}.2"))


def _refinement(theirs: str, ours: str) -> Pairs:
    return conv_norm({f"{theirs}.conv_layer": f"{ours}.conv", f"{theirs}.atten_conv_layer.1": f"{ours}.attention"})


def _fast_scnn() -> Pairs:
    stem, features = "backbone.learning_to_downsample", "backbone.global_feature_extractor"
    blocks = [(stage, index) for stage in range(3) for index in range(3)]
    return (
        *conv_norm({f"{stem}.conv": "downsample.0"}),
        *_separable(f"{stem}.dsconv1", "downsample.1"),
        *_separable(f"{stem}.dsconv2", "downsample.2"),
        *conv_norm(
            {
                f"{features}.bottleneck{stage + 1}.{index}.conv.{layer}": f"features.{at}.block.{layer}"
                for at, (stage, index) in enumerate(blocks)
                for layer in range(3)
            }
        ),
        *conv_norm({f"{features}.ppm.{at}.1": f"pyramid.branches.{at}.1" for at in range(4)}),
        *conv_norm(
            {
                f"{features}.out": "pyramid.fuse",
                "backbone.feature_fusion.dwconv": "fusion.low.0",
                "backbone.feature_fusion.conv_lower_res": "fusion.low.1",
                "backbone.feature_fusion.conv_higher_res": "fusion.high",
            }
        ),
        *_separable("decode_head.convs.0", "classifier.0"),
        *_separable("decode_head.convs.1", "classifier.1"),
        ("decode_head.conv_seg", "classifier.3"),
    )


def _bisenet_v1() -> Pairs:
    context = "backbone.context_path"
    return (
        (f"{context}.backbone", "context.encoder"),
        *_refinement(f"{context}.arm16", "context.refine16"),
        *_refinement(f"{context}.arm32", "context.refine32"),
        *conv_norm(
            {
                f"{context}.conv_head32": "context.up32.1",
                f"{context}.conv_head16": "context.up16.1",
                f"{context}.gap_conv.1": "context.mean.1",
                **{f"backbone.spatial_path.layer{at + 1}": f"spatial.{at}" for at in range(4)},
                "backbone.ffm.conv1": "fusion.project",
                "backbone.ffm.conv_atten.0": "fusion.attention.1",
            }
        ),
        *_fcn_head(),
    )


def _expansion(theirs: str, ours: str, *, strided: bool) -> Pairs:
    layers = {"conv1": "gather", "dwconv.0": "expand.0", "conv2.0": "project"}
    if strided:
        layers |= {"dwconv.1": "expand.1"}
    pairs = conv_norm({f"{theirs}.{name}": f"{ours}.{own}" for name, own in layers.items()})
    return (*pairs, *_separable(f"{theirs}.shortcut.0", f"{ours}.shortcut")) if strided else pairs


def _kept(theirs: str, ours: str) -> Pairs:
    """Return pairs for a depthwise convolution with and a pointwise one without a batch norm."""
    return (*conv_norm({f"{theirs}.depthwise_conv": f"{ours}.0"}), (f"{theirs}.pointwise_conv.conv", f"{ours}.1"))


def _bisenet_v2() -> Pairs:
    detail = [(stage, index) for stage, (_, count) in enumerate(DETAIL_STAGES) for index in range(count)]
    semantic, aggregate = "backbone.semantic", "backbone.bga"
    return (
        *conv_norm(
            {
                f"backbone.detail.detail_branch.{stage}.{index}": f"detail.{at}"
                for at, (stage, index) in enumerate(detail)
            }
        ),
        *conv_norm(
            {
                f"{semantic}.stage1.conv_first": "stem.conv",
                f"{semantic}.stage1.convs.0": "stem.reduce",
                f"{semantic}.stage1.convs.1": "stem.stride",
                f"{semantic}.stage1.fuse_last": "stem.fuse",
                f"{semantic}.stage4_CEBlock.conv_gap": "context.project",
                f"{semantic}.stage4_CEBlock.conv_last": "context.fuse",
                f"{aggregate}.detail_down.0": "aggregate.detail_down.0",
                f"{aggregate}.semantic_conv.0": "aggregate.semantic_up.0",
                f"{aggregate}.conv": "aggregate.fuse",
            }
        ),
        (f"{semantic}.stage4_CEBlock.gap.1", "context.norm"),
        *(
            pair
            for stage, (_, count) in enumerate(SEMANTIC_STAGES)
            for at in range(count)
            for pair in _expansion(f"{semantic}.stage{stage + 2}.{at}", f"semantic.{stage}.{at}", strided=at == 0)
        ),
        *_kept(f"{aggregate}.detail_dwconv.0", "aggregate.detail_keep"),
        *_kept(f"{aggregate}.semantic_dwconv.0", "aggregate.semantic_keep"),
        *_fcn_head(),
    )


def _stdc(variant: int) -> Pairs:
    modules: dict[str, str] = {
        "backbone.backbone.stages.0": "encoder.stem1",
        "backbone.backbone.stages.1": "encoder.stem2",
    }
    for stage, count in enumerate(REPEATS[variant]):
        for at in range(count):
            theirs, ours = f"backbone.backbone.stages.{stage + 2}.{at}", f"encoder.stage{stage + 3}.{at}"
            modules[f"{theirs}.layers.0"] = f"{ours}.first"
            modules |= {f"{theirs}.layers.{layer + 1}": f"{ours}.others.{layer}" for layer in range(3)}
            if at == 0:
                modules[f"{theirs}.downsample"] = f"{ours}.down"
    return (
        *conv_norm(modules),
        *_refinement("backbone.arms.0", "refine32"),
        *_refinement("backbone.arms.1", "refine16"),
        *conv_norm(
            {
                "backbone.convs.0": "up32.1",
                "backbone.convs.1": "up16.1",
                "backbone.conv_avg": "mean.1",
                "backbone.ffm.conv0": "fusion.project",
            }
        ),
        ("backbone.ffm.attention.1.conv", "fusion.attention.1"),
        ("backbone.ffm.attention.2.conv", "fusion.attention.3"),
        *_fcn_head(),
    )


def _residual(theirs: str, ours: str, *, convolutions: int, shortcut: str = "") -> Pairs:
    """Return pairs for one block; `shortcut` is "numbered" or "named", how its convolution and norm are called."""
    pairs = conv_norm({f"{theirs}.conv{at}": f"{ours}.conv{at}" for at in range(1, convolutions + 1)})
    if shortcut == "numbered":
        return (*pairs, (f"{theirs}.downsample", f"{ours}.shortcut"))
    return (*pairs, *conv_norm({f"{theirs}.downsample": f"{ours}.shortcut"})) if shortcut else pairs


def _stage(theirs: str, ours: str, *, blocks: int, shortcut: str = "") -> Pairs:
    return tuple(
        pair
        for at in range(blocks)
        for pair in _residual(f"{theirs}.{at}", f"{ours}.{at}", convolutions=2, shortcut="" if at else shortcut)
    )


def _norm_act_conv(modules: Iterable[tuple[str, str]]) -> Pairs:
    """Return pairs for batch norm, ReLU and convolution, which are numbered 0, 1, 2 in ours."""
    return tuple(
        (f"{theirs}.{name}", f"{ours}.{number}")
        for theirs, ours in modules
        for name, number in (("bn", 0), ("conv", 2))
    )


def _pyramid(process: Iterable[tuple[str, str]]) -> Pairs:
    return _norm_act_conv(
        (
            ("backbone.spp.scales.0", "pooling.scale0"),
            *((f"backbone.spp.scales.{at + 1}.1", f"pooling.scales.{at}.1") for at in range(4)),
            *process,
            ("backbone.spp.compression", "pooling.compression"),
            ("backbone.spp.shortcut", "pooling.shortcut"),
        )
    )


def _ddrnet() -> Pairs:
    low, high = "backbone.context_branch_layers", "backbone.spatial_branch_layers"
    return (
        *conv_norm({f"backbone.stem.{at}": f"stem.{at}" for at in range(2)}),
        *_stage("backbone.stem.2", "layer1", blocks=2),
        *_stage("backbone.stem.4", "layer2", blocks=2, shortcut="numbered"),
        *_stage(f"{low}.0", "low3", blocks=2, shortcut="numbered"),
        *_stage(f"{low}.1", "low4", blocks=2, shortcut="numbered"),
        *_residual(f"{low}.2.0", "low5", convolutions=3, shortcut="numbered"),
        *_stage(f"{high}.0", "high3", blocks=2),
        *_stage(f"{high}.1", "high4", blocks=2),
        *_residual(f"{high}.2.0", "high5", convolutions=3, shortcut="numbered"),
        *conv_norm(
            {
                "backbone.compression_1": "compress3.0",
                "backbone.compression_2": "compress4.0",
                "backbone.down_1": "down3",
                "backbone.down_2.0": "down4.0",
                "backbone.down_2.1": "down4.1",
            }
        ),
        *_pyramid((f"backbone.spp.processes.{at}", f"pooling.process.{at}") for at in range(4)),
        ("decode_head.head.0.bn", "head.0"),
        ("decode_head.head.0.conv", "head.2.0"),
        ("decode_head.head.1", "head.2.1"),
        ("decode_head.conv_seg", "head.4"),
    )


def _pidnet() -> Pairs:
    context, detail, boundary = (f"backbone.{name}_branch_layers" for name in "ipd")
    bottlenecks = {f"{detail}.2.0": "detail5", f"{boundary}.1.0": "boundary4", f"{boundary}.2.0": "boundary5"}
    return (
        *conv_norm({f"backbone.stem.{at}": f"stem.{at}" for at in range(2)}),
        *_stage("backbone.stem.2", "layer1", blocks=2),
        *_stage("backbone.stem.4", "layer2", blocks=2, shortcut="named"),
        *_stage(f"{context}.0", "context3", blocks=3, shortcut="named"),
        *_stage(f"{context}.1", "context4", blocks=3, shortcut="named"),
        *_residual(f"{context}.2.0", "context5.0", convolutions=3, shortcut="named"),
        *_residual(f"{context}.2.1", "context5.1", convolutions=3),
        *_stage(f"{detail}.0", "detail3", blocks=2),
        *_stage(f"{detail}.1", "detail4", blocks=2),
        *_residual(f"{boundary}.0", "boundary3", convolutions=2, shortcut="named"),
        *(
            pair
            for theirs, ours in bottlenecks.items()
            for pair in _residual(theirs, ours, convolutions=3, shortcut="named")
        ),
        *conv_norm(
            {
                "backbone.compression_1": "compress3",
                "backbone.compression_2": "compress4",
                "backbone.pag_1.f_p": "attend3.own",
                "backbone.pag_1.f_i": "attend3.other",
                "backbone.pag_2.f_p": "attend4.own",
                "backbone.pag_2.f_i": "attend4.other",
                "backbone.diff_1": "difference3.0",
                "backbone.diff_2": "difference4.0",
                "backbone.dfm.f_p": "fusion.detail",
                "backbone.dfm.f_i": "fusion.context",
            }
        ),
        *_pyramid([("backbone.spp.processes", "pooling.process")]),
        ("decode_head.i_head.conv.bn", "head.0"),
        ("decode_head.i_head.conv.conv", "head.2.0"),
        ("decode_head.i_head.norm", "head.2.1"),
        ("decode_head.conv_seg", "head.4"),
    )


_MIT_BLOCK = {
    "norm1": "norm1",
    "attn.attn.out_proj": "attention.project",
    "attn.sr": "attention.reduce",
    "attn.norm": "attention.norm",
    "norm2": "norm2",
    "ffn.layers.0": "feed_forward.expand",
    "ffn.layers.1": "feed_forward.depthwise",
    "ffn.layers.4": "feed_forward.project",
}
_MIT_BLOCKS = [
    (f"backbone.layers.{at}.1.{block}", f"encoder.stages.{at}.blocks.{block}", stage.reduction > 1)
    for at, stage in enumerate(MIT_B0)
    for block in range(stage.blocks)
]


def _segformer() -> Pairs:
    return (
        *(
            (f"backbone.layers.{at}.{theirs}", f"encoder.stages.{at}.{ours}")
            for at in range(len(MIT_B0))
            for theirs, ours in (("0.projection", "merge"), ("0.norm", "merge_norm"), ("2", "norm"))
        ),
        *(
            (f"{theirs}.{name}", f"{ours}.{own}")
            for theirs, ours, reduced in _MIT_BLOCKS
            for name, own in _MIT_BLOCK.items()
            if reduced or name not in ("attn.sr", "attn.norm")
        ),
        *conv_norm({f"decode_head.convs.{at}": f"decoder.project.{at}" for at in range(len(MIT_B0))}),
        ("decode_head.fusion_conv.bn", "decoder.norm"),
        ("decode_head.conv_seg", "decoder.classifier"),
    )


def _segformer_splits() -> tuple[Split, ...]:
    """Return the packed query, key and value of every block, and the fusing layer, finest map first."""
    attention = tuple(
        Split(
            theirs=f"{theirs}.attn.attn.in_proj_{kind}",
            ours=tuple(f"{ours}.attention.{part}.{kind}" for part in ("query", "key", "value")),
            axis=0,
        )
        for theirs, ours, _ in _MIT_BLOCKS
        for kind in ("weight", "bias")
    )
    fusing = tuple(f"decoder.fuse.{at}.weight" for at in range(len(MIT_B0)))
    return (*attention, Split(theirs="decode_head.fusion_conv.conv.weight", ours=fusing, axis=1))


_FAST_SCNN = KeyMap(
    layout="mmsegmentation Fast-SCNN",
    net="fast_scnn",
    arguments={"fusion_dilation": 1, "pyramid_kernel": 3},
    modules=_fast_scnn(),
    unused=_AUXILIARY,
    classifier="classifier.3.weight",
    notes=_NOTES,
)
_BISENET_V1 = KeyMap(
    layout="mmsegmentation BiSeNetV1",
    net="bisenet_v1_resnet18",
    arguments={"nearest": True, "gate": "norm_relu"},
    modules=_bisenet_v1(),
    unused=_AUXILIARY,
    classifier="head.2.weight",
    notes=_NOTES,
)
_BISENET_V2 = KeyMap(
    layout="mmsegmentation BiSeNetV2",
    net="bisenet_v2",
    arguments={"activate_expansion": True, "activate_aggregation": True, "pointwise_bias": True},
    modules=_bisenet_v2(),
    unused=_AUXILIARY,
    classifier="head.2.weight",
    notes=_NOTES,
)
_STDC = tuple(
    KeyMap(
        layout=f"mmsegmentation STDC{variant}",
        net=f"stdc{variant}_seg",
        arguments={"nearest": True},
        modules=_stdc(variant),
        unused=_AUXILIARY,
        classifier="head.2.weight",
        notes=_NOTES,
    )
    for variant in (1, 2)
)
_DDRNET_23_SLIM = KeyMap(
    layout="mmsegmentation DDRNet-23-slim",
    net="ddrnet_23_slim",
    modules=_ddrnet(),
    unused=("decode_head.aux_head", "decode_head.aux_cls_seg"),
    classifier="head.4.weight",
    notes=_NOTES,
)
_PIDNET_S = KeyMap(
    layout="mmsegmentation PIDNet-S",
    net="pidnet_s",
    arguments={"activate_bottlenecks": False},
    modules=_pidnet(),
    unused=tuple(f"decode_head.{name}" for name in ("p_head", "d_head", "p_cls_seg", "d_cls_seg")),
    classifier="head.4.weight",
    notes=_NOTES,
)
_SEGFORMER_B0 = KeyMap(
    layout="mmsegmentation SegFormer-B0",
    net="segformer_b0",
    arguments={"activate_projection": True},
    modules=_segformer(),
    splits=_segformer_splits(),
    classifier="decoder.classifier.weight",
    notes=_NOTES,
)
MMSEGMENTATION_MAPS = (_FAST_SCNN, _BISENET_V1, _BISENET_V2, *_STDC, _DDRNET_23_SLIM, _PIDNET_S, _SEGFORMER_B0)
