"""Layouts of other projects: every key has its place, and the net computes what theirs does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from models.foreign.reference_keys import reference_image, reference_shapes, reference_state

from edgeseg.cli.main import main
from edgeseg.errors import CheckpointError, InputError
from edgeseg.models import build, load_checkpoint, load_encoder
from edgeseg.models.foreign.import_weights import import_weights
from edgeseg.models.foreign.key_map import best_map, translate
from edgeseg.models.foreign.net_maps import NET_MAPS
from edgeseg.models.state_dict import OPTIONAL

if TYPE_CHECKING:
    from torch import Tensor

    from edgeseg.models.foreign.key_map import KeyMap

BY_LAYOUT = {by.layout: by for by in NET_MAPS}
LAYOUTS = {
    "coincheung_bisenet_v1": "CoinCheung BiSeNetV1",
    "coincheung_bisenet_v2": "CoinCheung BiSeNetV2",
    "tramac_fast_scnn": "Tramac Fast-SCNN",
    "mmsegmentation_fast_scnn": "mmsegmentation Fast-SCNN",
    "mmsegmentation_bisenet_v1": "mmsegmentation BiSeNetV1",
    "mmsegmentation_bisenet_v2": "mmsegmentation BiSeNetV2",
    "mmsegmentation_stdc1": "mmsegmentation STDC1",
    "mmsegmentation_stdc2": "mmsegmentation STDC2",
    "mmsegmentation_ddrnet_23_slim": "mmsegmentation DDRNet-23-slim",
    "mmsegmentation_pidnet_s": "mmsegmentation PIDNet-S",
    "mmsegmentation_segformer_b0": "mmsegmentation SegFormer-B0",
    "torchvision_lraspp": "torchvision LR-ASPP",
}
EACH = pytest.mark.parametrize("reference", LAYOUTS)
# Logits of each project's own net with the weights of `reference_state`, at the four corners of quadrants, by class.
LOGITS = json.loads(Path(__file__).with_name("reference_logits.json").read_text(encoding="utf-8"))


def placed(given: dict[str, Tensor], *, by: KeyMap, size: int) -> tuple[torch.nn.Module, dict[str, Tensor]]:
    """Return a net on `given`'s device and the tensors for it, linear layers as the convolutions that ours are."""
    with torch.device(next(iter(given.values())).device):
        net = build(by.net, classes=5, size=(size, size), arguments=by.arguments).eval()
    own = net.state_dict()
    tensors = translate(given, by=by).tensors
    return net, {
        key: value.reshape(own[key].shape) if key in own and value.numel() == own[key].numel() else value
        for key, value in tensors.items()
    }


@EACH
def test_every_key_of_the_reference_has_its_place_and_nothing_is_left_over(reference: str) -> None:
    given = {key: torch.empty(shape, device="meta") for key, shape in reference_shapes(reference).items()}
    found = best_map(given, maps=NET_MAPS)
    assert found is not None
    assert found.layout == LAYOUTS[reference]
    net, tensors = placed(given, by=found, size=64)
    done = translate(given, by=found)
    assert done.unknown == ()
    assert all(key.startswith(found.unused) for key in done.dropped)
    own = {key: value.shape for key, value in net.state_dict().items()}
    assert {key: value.shape for key, value in tensors.items()} == own
    whole = len(done.dropped) + len(tensors) + len(found.folded)
    assert whole == len(given) + sum(len(item.ours) - 1 for item in found.splits)


@pytest.mark.parametrize("reference", LOGITS)
def test_logits_are_those_of_the_reference(reference: str) -> None:
    by, size = BY_LAYOUT[LAYOUTS[reference]], LOGITS[reference]["size"]
    net, tensors = placed(reference_state(reference, without=by.unused), by=by, size=size)
    net.load_state_dict(tensors)
    with torch.no_grad():
        logits = net(reference_image(size))
    middle = logits.shape[2] // 2
    found = logits[0, :, ::middle, ::middle].flatten()
    torch.testing.assert_close(found, torch.tensor(LOGITS[reference]["logits"]), rtol=0, atol=2e-4)


def saved(path: Path, reference: str = "tramac_fast_scnn", **extra: object) -> Path:
    torch.save({**extra, "state_dict": reference_state(reference)}, path)
    return path


def test_the_command_says_what_it_took_the_file_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = saved(tmp_path / "fast_scnn_citys.pth")
    command = ["models", "import", str(file), "--as", "fast_scnn", "--size", "64x96", "-o", str(tmp_path / "out")]
    assert main(command) == 0
    said = capsys.readouterr()
    assert "fast_scnn from Tramac Fast-SCNN weights, 266 tensors matched" in said.out
    assert "8 tensors left out by design, first auxlayer.0.weight" in said.err
    assert "activate_depthwise = true, padded_stem = false, align_corners = true, fusion_dilation = 1" in said.err
    assert "No --spec: 5 classes; mean 0.485, 0.456, 0.406" in said.err
    spec = load_checkpoint(tmp_path / "out", size=(96, 96)).spec
    assert (len(spec.classes), spec.arguments["padded_stem"]) == (5, False)


def test_names_of_classes_and_the_reduced_zero_label_come_from_the_file(tmp_path: Path) -> None:
    state = reference_state("mmsegmentation_fast_scnn")
    names = ("wall", *(f"thing {index}" for index in range(149)))
    for key in ("decode_head.conv_seg.weight", "decode_head.conv_seg.bias"):
        state[key] = state[key].repeat(30, *[1] * (state[key].dim() - 1))
    torch.save({"meta": {"CLASSES": names, "epoch": 3}, "state_dict": state, "optimizer": {}}, tmp_path / "f.pth")
    done = import_weights(tmp_path / "f.pth", tmp_path / "out", name="fast_scnn", size=(64, 96))
    assert done.spec.classes == names
    assert "reduce_zero_label: class 0 is its label 1" in done.note


def test_an_unknown_key_and_a_wrong_shape_are_named(tmp_path: Path) -> None:
    state = reference_state("tramac_fast_scnn")
    state["classifier.dsconv3.conv.0.weight"] = torch.zeros(1)
    state["learning_to_downsample.conv.conv.0.weight"] = torch.zeros(32, 1, 3, 3)
    del state["feature_fusion.dwconv.conv.1.running_var"]
    torch.save(state, tmp_path / "f.pth")
    with pytest.raises(
        CheckpointError,
        match=r"as Tramac Fast-SCNN, 264 of 266 tensors match; 1 missing, first fusion\.low\.0\.1\.running_var; "
        r"1 left over, first classifier\.dsconv3\.conv\.0\.weight; 1 of another shape, first downsample\.0\.0\.weight",
    ):
        import_weights(tmp_path / "f.pth", tmp_path / "out", name="fast_scnn")


@pytest.mark.parametrize(
    ("reference", "name", "words"),
    [
        (
            "tramac_fast_scnn",
            "bisenet_v2",
            r"as Tramac Fast-SCNN, whose net is not bisenet_v2\. Use --as fast_scnn",
        ),
        ("mmsegmentation_stdc1", "stdc2_seg", r"recognised as mmsegmentation STDC1, .* Use --as stdc1_seg"),
        ("torchvision_deeplabv3", "lraspp_mobilenet_v3_large", r"torchvision DeepLabv3, .* no decoder.*encoder"),
    ],
)
def test_weights_of_another_net_say_which(reference: str, name: str, words: str, tmp_path: Path) -> None:
    torch.save({key: torch.zeros(1) for key in reference_shapes(reference)}, tmp_path / "f.pth")
    with pytest.raises(CheckpointError, match=words):
        import_weights(tmp_path / "f.pth", tmp_path / "out", name=name)


@pytest.mark.parametrize(
    ("reference", "name", "left"),
    [
        ("timm_efficientnet_lite0", "lraspp_efficientnet_lite0", {"conv_head", "bn2", "classifier"}),
        ("torchvision_deeplabv3", "lraspp_mobilenet_v3_large", {"classifier"}),
    ],
)
def test_an_encoder_is_filled_from_a_whole_net(reference: str, name: str, left: set[str], tmp_path: Path) -> None:
    shapes = reference_shapes(reference)
    given = {key: torch.ones(() if key.partition(".")[0] in left else shape) for key, shape in shapes.items()}
    torch.save(given, tmp_path / "f.pth")
    loaded = load_encoder(build(name, classes=5, size=(64, 96)), tmp_path / "f.pth")
    assert loaded.missing == ()
    assert {key.partition(".")[0] for key in loaded.unexpected if not key.endswith(OPTIONAL)} == left


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            {"align_corner": True},
            r'has no argument "align_corner"\. Did you mean "align_corners"\? It takes: activate_',
        ),
        ({"align_corners": 1}, "align_corners = 1; a value of type bool is needed"),
    ],
)
def test_arguments_that_an_architecture_does_not_take_are_refused(arguments: dict[str, int], words: str) -> None:
    with pytest.raises(InputError, match=words):
        build("fast_scnn", classes=2, size=(64, 64), arguments=arguments)
