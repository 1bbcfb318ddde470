"""Planted faults that a chip's capability table must find, each beside a twin without the fault that must pass."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch
from contracts.deployable import deployable
from torch import Tensor, nn
from torch.nn import functional as F

from edgeseg.cli.check import STATUS
from edgeseg.cli.main import main
from edgeseg.core.chip import OpFacts
from edgeseg.core.placement import CPU
from edgeseg.deploy.chip_check import IN_PLACE, CheckedOp, advice, judge_chip, place_ops
from edgeseg.deploy.model_check import check_model, chip_of
from edgeseg.errors import InputError, RecipeError, UnknownName
from edgeseg.graph.op_facts import op_facts, peak_activations
from edgeseg.targets.chips import chip_names, find_chip

if TYPE_CHECKING:
    from pathlib import Path

    from torch.export import ExportedProgram

    from edgeseg.models.checkpoint import Checkpoint


MINE = """
schema = 1
name = "mine"
title = "My chip"
unit = "npu"
source = "none"
dated = "2026-11-30"
evidence = "unchecked"
bits = 8
elsewhere = "cpu"
memory_kib = 64
ops = ["conv2d", "relu"]
"""


class Resize(nn.Module):
    def __init__(self, factor: float, *, size: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.factor, self.size = factor, size

    def forward(self, x: Tensor) -> Tensor:
        if self.size is not None:
            return F.interpolate(x, size=self.size, mode="bilinear", align_corners=False)
        return F.interpolate(x, scale_factor=self.factor, mode="bilinear", align_corners=False)


class Shuffle(nn.Module):
    """Channel shuffle, in five dimensions or in four."""

    def __init__(self, *, five: bool) -> None:
        super().__init__()
        self.five = five

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        if self.five:
            return x.reshape(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return x.reshape(2, c // 2, h * w, 1).transpose(0, 1).reshape(n, c, h, w)


class Attention(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        return F.scaled_dot_product_attention(tokens, tokens, tokens)


class Scaled(nn.Module):
    """One convolution whose values reach `largest` for an image of ones."""

    def __init__(self, largest: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1, bias=False)
        nn.init.constant_(self.conv.weight, largest / 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


def program(net: nn.Module, shape: tuple[int, ...] = (1, 4, 8, 8)) -> ExportedProgram:
    with torch.no_grad():
        return torch.export.export(net.eval(), (torch.ones(shape),))


def checked(net: nn.Module, chip: str, *, shape: tuple[int, ...] = (1, 4, 8, 8), largest: float | None = None) -> list:
    exported = program(net, shape)
    peaks = None
    if largest is not None:
        peaks = {node.name: largest for node in exported.graph.nodes}
    return list(place_ops(find_chip(chip), op_facts(exported, peaks=peaks)))


def on_cpu(ops: list[CheckedOp]) -> list[str]:
    return [item.placement.op for item in ops if item.placement.unit == CPU]


@pytest.mark.parametrize(
    ("chip", "faulty", "sound", "op"),
    [
        ("ethos-u55", Resize(4), Resize(2), "upsample_bilinear2d"),
        ("ethos-u65", Resize(8), Resize(2), "upsample_bilinear2d"),
        ("ethos-u85", Resize(1, size=(24, 24)), Resize(4), "upsample_bilinear2d"),
        ("rknn", nn.GELU(), nn.ReLU(), "gelu"),
        ("rknn", nn.Conv2d(4, 4, 33, padding=16), nn.Conv2d(4, 4, 31, padding=15), "conv2d"),
        ("rknn", Shuffle(five=True), Shuffle(five=False), "reshape"),
        ("litert-gpu", Shuffle(five=True), Shuffle(five=False), "reshape"),
        ("hailo-8", Attention(), nn.Conv2d(4, 4, 3), "scaled_dot_product_attention"),
        ("edge-tpu", nn.Hardswish(), nn.ReLU6(), "hardswish"),
        ("ane", nn.Conv2d(4, 4, 15, padding=7), nn.Conv2d(4, 4, 5), "conv2d"),
        ("imx500", Attention(), nn.ReLU(), "scaled_dot_product_attention"),
    ],
)
def test_a_planted_op_is_found_with_its_reason_and_advice(
    chip: str, faulty: nn.Module, sound: nn.Module, op: str
) -> None:
    found = checked(faulty, chip)
    assert op in [name.replace("view", "reshape") for name in on_cpu(found)]
    worst = next(item for item in found if item.placement.unit == CPU)
    assert worst.placement.reason
    assert on_cpu(checked(sound, chip)) == []
    assert judge_chip(find_chip(chip), tuple(checked(sound, chip)), memory_kib=1, available_kib=0)[0] == "whole"


@pytest.mark.parametrize("chip", ["ane", "tensorrt", "litert-gpu"])
def test_a_value_beyond_float16_is_found_and_one_below_is_not(chip: str) -> None:
    high = checked(Scaled(1.0), chip, largest=65_505.0)
    assert "overflows float16" in high[0].placement.reason
    assert on_cpu(checked(Scaled(1.0), chip, largest=65_504.0)) == []
    assert on_cpu(checked(Scaled(1.0), "ethos-u55", largest=1e9)) == []


def test_a_net_that_overflows_8_mb_is_refused_by_the_imx500_and_a_smaller_one_is_not() -> None:
    chip = find_chip("imx500")
    net = nn.Sequential(nn.Conv2d(4, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 4, 3, padding=1))
    verdicts = []
    for side in (512, 256):
        exported = program(net, (1, 4, side, side))
        peak = peak_activations(exported, merged=IN_PLACE)
        assert peak.values == 36 * side * side
        assert peak.op == "conv2d"
        kib = peak.values / 1024
        ops = place_ops(chip, op_facts(exported))
        verdicts.append(judge_chip(chip, ops, memory_kib=kib, available_kib=chip.memory_kib))
        advised = advice(chip, ops, memory_kib=kib, available_kib=chip.memory_kib, memory_at="the first conv2d")
        assert bool(advised) == (side == 512)
    assert verdicts[0][0] == "none"
    assert "8192 KiB" in verdicts[0][1]
    assert verdicts[1] == ("whole", "")


def test_what_a_chip_lacks_decides_the_verdict() -> None:
    ops = tuple(checked(nn.Sequential(nn.Conv2d(4, 4, 3), nn.GELU()), "rknn"))
    assert judge_chip(find_chip("rknn"), ops, memory_kib=1, available_kib=0)[0] == "partly"
    alone = tuple(checked(nn.GELU(), "rknn"))
    assert judge_chip(find_chip("rknn"), alone, memory_kib=1, available_kib=0)[0] == "none"
    attention = tuple(checked(nn.Sequential(nn.Conv2d(4, 4, 3), Attention()), "hailo-8"))
    assert judge_chip(find_chip("hailo-8"), attention, memory_kib=1, available_kib=0)[0] == "none"
    assert {STATUS[name] for name in ("whole", "partly", "none")} == {0, 3, 1}


def facts(op: str, *, factor: float = 1, channels: int = 4, **more: object) -> OpFacts:
    shape, output = (1, channels, 4, 4), (1, channels, int(4 * factor), int(4 * factor))
    factors = (factor, factor) if op.startswith("upsample") else ()
    given = {"shapes": (shape,), "output": output, "factors": factors, **more}
    return OpFacts(op=op, node=op, layer="", **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("chip", "fact", "runs"),
    [
        ("rknn", facts("upsample_bilinear2d", factor=3), True),
        ("rknn", facts("upsample_bilinear2d", factor=16), False),
        ("rknn", facts("silu"), True),
        ("ethos-u55", facts("upsample_bilinear2d", factor=2, align_corners=True), False),
        ("ethos-u65", facts("argmax", channels=128), False),
        ("ethos-u65", facts("argmax", channels=127), True),
        ("ethos-u85", facts("upsample_nearest2d", factor=3), True),
        ("ethos-u85", facts("upsample_bilinear2d", factor=3), False),
        ("ane", facts("conv2d", kernel=(3, 3), dilation=(2, 2)), False),
        ("litert-gpu", facts("gelu"), True),
        ("ethos-u55", facts("add"), False),  # with a number
        ("edge-tpu", facts("add"), True),
        ("edge-tpu", facts("softmax"), False),  # of a map of logits
        ("edge-tpu", facts("softmax", shapes=((1, 10),), output=(1, 10)), True),
        # What edgeseg's int8 files hold for Vela 5.2.0, and where it placed that
        ("ethos-u55", facts("elu"), False),
        ("ethos-u85", facts("matmul", shapes=((1, 8, 8), (1, 8, 8)), output=(1, 8, 8)), False),
        ("ethos-u55", facts("conv2d", kernel=(4, 4), stride=(4, 4), groups=4), False),
        ("ethos-u55", facts("conv2d", kernel=(4, 4), stride=(4, 4), groups=1), True),
        ("ethos-u55", facts("conv2d", kernel=(7, 7), stride=(4, 4), padding=(3, 3)), False),
        ("ethos-u65", facts("conv2d", kernel=(7, 7), stride=(3, 3), padding=(3, 3)), True),
        ("ethos-u55", facts("conv2d", kernel=(3, 3), stride=(3, 3), groups=4), True),
        ("ethos-u65", facts("softmax", shapes=((1, 4, 256, 256),), output=(1, 4, 256, 256)), False),
        ("ethos-u65", facts("softmax", shapes=((1, 4, 255, 256),), output=(1, 4, 255, 256)), True),
    ],
)
def test_the_tables_say_what_was_found_in_documents(chip: str, fact: OpFacts, *, runs: bool) -> None:
    (placed,) = place_ops(find_chip(chip), [fact])
    assert (placed.placement.unit != CPU) is runs


def test_the_edge_tpu_maps_nothing_behind_the_first_op_that_it_lacks() -> None:
    found = checked(nn.Sequential(nn.Conv2d(4, 4, 3), nn.Hardswish(), nn.Conv2d(4, 4, 3)), "edge-tpu")
    assert on_cpu(found) == ["hardswish", "conv2d"]
    assert "runs behind hardswish" in found[2].placement.reason


def test_views_and_activations_need_no_memory_of_their_own_and_a_skip_does() -> None:
    class Skip(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            first = F.avg_pool2d(x, 1)
            second = F.relu(first).flatten(2).reshape(1, 4, 8, 8)
            return F.avg_pool2d(second, 1) + first

    values = peak_activations(program(Skip()), merged=IN_PLACE).values
    assert values == 3 * 256


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return deployable()


def test_a_checkpoint_is_checked_as_it_is_converted(checkpoint: Checkpoint) -> None:
    found = check_model(checkpoint, target="corstone-300")
    assert found.verdict == "partly"
    assert set(on_cpu(list(found.ops))) == {"upsample_bilinear2d"}
    assert all(item.layer for item in found.ops if item.placement.unit == CPU)
    assert 0 < found.memory_kib < found.available_kib == 4096
    assert any("Resize by 2" in text for text in found.advice)
    assert found.source
    assert found.evidence == "compiler"


def test_the_command_says_so_with_status_3(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("edgeseg.models.open_model", lambda *_arguments, **_options: checkpoint)
    assert main(["check", "x", "--target", "ethos-u55", "--json"]) == 3
    printed = json.loads(capsys.readouterr().out)
    assert printed["verdict"] == "partly"
    assert printed["on_chip"] == sum(item["placement"]["unit"] == "npu" for item in printed["ops"])
    assert main(["check", "x", "--target", "ethos-u55"]) == 3
    printed_text = capsys.readouterr().out
    assert "verdict: runs partly on it" in printed_text
    assert "Compared with what the vendor's compiler placed." in printed_text
    main(["check", "x", "--target", "hailo-8"])
    assert "not yet compared" in " ".join(capsys.readouterr().out.split())


def test_a_target_without_a_chip_and_an_unknown_one_are_answered() -> None:
    with pytest.raises(InputError, match=r"raspberry-pi-5: runs on its CPU.*corstone-300"):
        chip_of("raspberry-pi-5")
    with pytest.raises(UnknownName, match='Did you mean "hailo-8"'):
        chip_of("hailo-88")


def test_a_chip_file_is_a_target_and_another_file_is_answered(tmp_path: Path, checkpoint: Checkpoint) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(MINE)
    chip, available = chip_of(str(path))
    assert (chip.name, available) == ("mine", 64)
    found = check_model(checkpoint, target=str(path))
    assert (found.chip, found.available_kib, found.target) == ("My chip", 64, str(path))
    assert "conv2d" not in on_cpu(list(found.ops))
    path.write_text('schema = 1\nname = "mine"\n')
    with pytest.raises(RecipeError, match=r"mine\.toml"):
        chip_of(str(path))
    with pytest.raises(InputError, match="no such file"):
        chip_of(str(tmp_path / "other.toml"))


class Mean(nn.Module):
    def __init__(self, dims: tuple[int, ...]) -> None:
        super().__init__()
        self.dims = dims

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(self.dims, keepdim=True)


@pytest.mark.parametrize("chip", ["ethos-u55", "ethos-u65", "ethos-u85"])
def test_a_mean_over_channels_stays_on_the_cpu_and_one_over_the_map_does_not(chip: str) -> None:
    assert on_cpu(checked(Mean((1,)), chip)) == ["mean"]
    assert on_cpu(checked(Mean((-3,)), chip)) == ["mean"]
    assert on_cpu(checked(Mean((2, 3)), chip)) == []
    assert on_cpu(checked(Mean((1,)), chip, shape=(1, 4, 1, 8))) == []


def test_a_convolution_names_its_padding_and_a_depthwise_one_its_stride() -> None:
    strided = nn.Conv2d(4, 4, 7, stride=4, padding=3)
    assert "with padding" in checked(strided, "ethos-u55", shape=(1, 4, 32, 32))[0].placement.reason
    depthwise = checked(nn.Conv2d(4, 4, 4, stride=4, groups=4), "ethos-u65")
    assert "depthwise stride" in depthwise[0].placement.reason
    assert depthwise[0].instead == "Stride by 2 twice"
    assert on_cpu(checked(nn.Conv2d(4, 4, 4, stride=4), "ethos-u55")) == []


def test_every_table_holds_and_names_its_source(tmp_path: Path) -> None:
    assert {"ethos-u55", "ethos-u65", "ethos-u85", "htp", "rknn", "imx500", "hailo-8", "edge-tpu", "tensorrt", "ane",
            "litert-gpu"} <= set(chip_names())  # fmt: skip
    for name in chip_names():
        chip = find_chip(name)
        assert chip.source
        assert len(chip.dated) == len("2026-11-30")
        assert all("(" in fact for fact in chip.verified)  # each names its document
        assert {"conv2d"} <= {*chip.ops, *chip.limits}
    path = tmp_path / "mine.toml"
    path.write_text('schema = 1\nname = "mine"\nmax_rnak = 4\n')
    with pytest.raises(RecipeError, match="max_rnak"):
        find_chip(str(path))
