"""EfficientNet-PyTorch (Melas-Kyriazi): the numbered blocks `_blocks.N._depthwise_conv`, weights of TensorFlow."""

from __future__ import annotations

from edgeseg.core.spec import Preprocess
from edgeseg.models.encoders.efficientnet_lite import LITE0_REPEATS
from edgeseg.models.foreign.key_map import KeyMap

# Lite nets use (pixel - 127) / 128; the other EfficientNets use ImageNet's mean and deviation.
_MEAN, _DEVIATION = 127 / 255, 128 / 255
_FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_OTHERS = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_BLOCKS = [(stage, repeat) for stage, repeats in enumerate(LITE0_REPEATS) for repeat in range(repeats)]

LITE0 = KeyMap(
    layout="EfficientNet-PyTorch",
    net="EfficientNetLite0",
    modules=(
        ("_conv_stem", "conv_stem"),
        ("_bn0", "bn1"),
        *(
            (f"_blocks.{index}.{theirs}", f"blocks.{stage}.{repeat}.{ours}")
            for index, (stage, repeat) in enumerate(_BLOCKS)
            for theirs, ours in (_OTHERS if index else _FIRST).items()
        ),
    ),
    unused=("_conv_head", "_bn1", "_fc"),
    preprocess=Preprocess(mean=(_MEAN,) * 3, std=(_DEVIATION,) * 3),
)
