"""Tramac/Fast-SCNN-pytorch: Fast-SCNN, whose convolutions, batch norms and ReLUs lie in one Sequential `conv`."""

from __future__ import annotations

from edgeseg.models.foreign.key_map import KeyMap

_GLOBAL = "global_feature_extractor"
_BLOCKS = [(stage, index) for stage in range(3) for index in range(3)]


def _separable(theirs: str, ours: str) -> tuple[tuple[str, str], ...]:
    numbers = {0: "0.0", 1: "0.1", 3: "1.0", 4: "1.1"}
    return tuple((f"{theirs}.conv.{at}", f"{ours}.{number}") for at, number in numbers.items())


def _bottleneck(theirs: str, ours: str) -> tuple[tuple[str, str], ...]:
    names = {"block.0.conv": "block.0", "block.1.conv": "block.1", "block.2": "block.2.0", "block.3": "block.2.1"}
    return tuple((f"{theirs}.{name}", f"{ours}.{own}") for name, own in names.items())


TRAMAC_FAST_SCNN = KeyMap(
    layout="Tramac Fast-SCNN",
    net="fast_scnn",
    arguments={"activate_depthwise": True, "padded_stem": False, "align_corners": True, "fusion_dilation": 1},
    modules=(
        ("learning_to_downsample.conv.conv", "downsample.0"),
        *_separable("learning_to_downsample.dsconv1", "downsample.1"),
        *_separable("learning_to_downsample.dsconv2", "downsample.2"),
        *(
            pair
            for at, (stage, index) in enumerate(_BLOCKS)
            for pair in _bottleneck(f"{_GLOBAL}.bottleneck{stage + 1}.{index}", f"features.{at}")
        ),
        *((f"{_GLOBAL}.ppm.conv{at + 1}.conv", f"pyramid.branches.{at}.1") for at in range(4)),
        (f"{_GLOBAL}.ppm.out.conv", "pyramid.fuse"),
        ("feature_fusion.dwconv.conv", "fusion.low.0"),
        ("feature_fusion.conv_lower_res", "fusion.low.1"),
        ("feature_fusion.conv_higher_res", "fusion.high"),
        *_separable("classifier.dsconv1", "classifier.0"),
        *_separable("classifier.dsconv2", "classifier.1"),
        ("classifier.conv.1", "classifier.3"),
    ),
    unused=("auxlayer",),
    folded=(
        ("feature_fusion.conv_lower_res.0.bias", "fusion.low.1.1.running_mean"),
        ("feature_fusion.conv_higher_res.0.bias", "fusion.high.1.running_mean"),
    ),
    classifier="classifier.3.weight",
)
