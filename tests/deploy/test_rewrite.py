"""`check --rewrite`: what it writes avoids ops that a chip lacks and keeps the labels; what changes them is refused."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from edgeseg.cli.check import _show_rewrites
from edgeseg.cli.main import main
from edgeseg.core.files import MARKER, read_json
from edgeseg.core.spec import NetOutput, OpRewrite
from edgeseg.core.spec_file import SpecFile
from edgeseg.data import render_street
from edgeseg.deploy.rewrite import Rewritten, retraining, rewrite_checkpoint
from edgeseg.errors import CheckpointError, GateError, InputError
from edgeseg.models import Checkpoint, load_checkpoint, open_model
from edgeseg.models.checkpoint import MODEL_SPEC_FILE
from edgeseg.models.lineage import read_lineage

if TYPE_CHECKING:
    from pathlib import Path

SIZE = (64, 96)
NAMES = ("dark", "middle", "bright")


class Net(nn.Module):
    """Labels by brightness: a convolution, the op under test, a classifier."""

    def __init__(self, middle: nn.Module, *, wide: int = 6, up: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, wide, 4, stride=4)
        self.middle = middle
        self.last = nn.Conv2d(wide, 3, 1)
        self.up = up
        nn.init.constant_(self.first.weight, 1 / 48)
        nn.init.constant_(self.first.bias, 0.0)
        nn.init.constant_(self.last.weight, 0.0)
        with torch.no_grad():
            self.last.weight[:, 0, 0, 0] = torch.tensor([-4.0, 0.0, 4.0])
            self.last.bias.copy_(torch.tensor([-1.0, 0.3, -1.0]))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(self.middle(self.first(x)))
        return F.interpolate(y, scale_factor=self.up, mode="bilinear") if self.up > 1 else y


class Mean(nn.Module):
    """The value itself through an activation that is the identity here only if `shift` is large."""

    def __init__(self, activation: nn.Module, *, shift: float) -> None:
        super().__init__()
        self.activation, self.shift = activation, shift

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.activation(x + self.shift) - self.shift
        return result


class Shuffle(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for seed in range(3):
        Image.fromarray(render_street(seed)[0][..., ::-1].copy()).save(folder / f"{seed}.png")
    return folder


def opened(net: nn.Module, *, output: NetOutput | None = None) -> Checkpoint:
    return open_model(net, spec=SpecFile(schema=1, classes=NAMES, size=SIZE, output=output or NetOutput()))


def rewritten(net: nn.Module, chip: str, images: Path, out: Path, *, output: NetOutput | None = None) -> Rewritten:
    return rewrite_checkpoint(opened(net, output=output), target=chip, out=out, data=str(images))


@pytest.mark.parametrize(
    ("middle", "chip", "op"),
    [
        (nn.Hardsigmoid(inplace=True), "edge-tpu", "hardsigmoid"),
        (nn.Upsample(scale_factor=16, mode="nearest"), "ethos-u55", "upsample_nearest2d"),
        (Shuffle(), "rknn", "reshape"),
    ],
)
def test_exact_rewrites_put_the_op_on_the_chip_and_keep_every_label(
    middle: nn.Module, chip: str, op: str, images: Path, tmp_path: Path
) -> None:
    up = 4 if op.startswith("upsample") else 1
    net = Net(middle)
    if up > 1:
        net.first = nn.Sequential(nn.AvgPool2d(4), net.first)
    done = rewritten(net, chip, images, tmp_path / "out")
    assert done.before.verdict != "whole"
    assert done.after.verdict == "whole"
    assert [(item.op, item.exact, item.refused) for item in done.tried] == [(op, True, "")]
    assert done.gate.label_agreement >= 0.9999
    assert done.retraining == ""
    x = torch.rand(2, 3, *SIZE)
    with torch.no_grad():
        assert torch.allclose(load_again(tmp_path / "out", net)(x), net.eval()(x), atol=1e-5)


def load_again(folder: Path, net: nn.Module) -> nn.Module:
    """Return the net that a rewritten checkpoint's spec makes of an equal one."""
    import copy

    from edgeseg.models.rewriting import rewrite_ops

    spec = read_json(type(opened(net).spec), folder / MODEL_SPEC_FILE)
    assert spec.rewrites
    return rewrite_ops(copy.deepcopy(net).eval(), spec.rewrites)


def test_an_approximation_that_changes_labels_is_refused_with_its_figure_and_a_recipe(
    images: Path, tmp_path: Path
) -> None:
    with pytest.raises(GateError, match=r"elu as relu: .*required: .*Nothing was written") as refused:
        rewritten(Net(Mean(nn.ELU(), shift=0.0)), "edge-tpu", images, tmp_path / "near")
    assert 'kind = "rewrite"' in str(refused.value)
    assert 'op = "elu", to = "relu", layer = "middle.activation"' in str(refused.value)
    assert refused.value.exit_status == 3
    assert not (tmp_path / "near").exists()


def test_full_size_logits_become_logits_at_the_nets_own_stride(images: Path, tmp_path: Path) -> None:
    done = rewritten(Net(nn.ReLU(), up=4), "ethos-u55", images, tmp_path / "out", output=NetOutput(cut=False))
    assert [item.to for item in done.tried] == ["logits at stride 4"]
    assert done.before.verdict == "partly"
    assert done.after.verdict == "whole"
    spec = read_json(type(opened(Net(nn.ReLU())).spec), tmp_path / "out" / MODEL_SPEC_FILE)
    assert spec.output_stride == 4
    assert spec.outputs[0].size == (16, 24)


def test_a_rewritten_checkpoint_opens_again_and_tells_its_lineage(images: Path, tmp_path: Path) -> None:
    from contracts.deployable import trained_folder

    from edgeseg.export.export import deploy, export_program
    from edgeseg.graph.op_facts import op_facts

    start = load_checkpoint(trained_folder())
    (tmp_path / "run").mkdir()
    for name in (MARKER, "state.pt"):
        (tmp_path / "run" / name).write_text("a training run")
    with pytest.raises(InputError, match="Choose another folder"):
        rewrite_checkpoint(start, target="ethos-u55", out=tmp_path / "run", data=str(images))
    done = rewrite_checkpoint(start, target="ethos-u55", out=tmp_path / "out", data=str(images))
    assert {item.op for item in done.tried} == {"upsample_bilinear2d"}
    assert done.after.on_chip > done.before.on_chip
    loaded = load_checkpoint(tmp_path / "out")
    with pytest.raises(InputError, match="Choose another folder"):
        rewrite_checkpoint(loaded, target="ethos-u55", out=tmp_path / "out", data=str(images))
    assert loaded.spec.name.endswith("-ethos-u55")
    assert read_lineage(tmp_path / "out")[-1].stage == "rewrite"
    assert read_lineage(tmp_path / "out")[:-1] == read_lineage(trained_folder())
    program = export_program(deploy(loaded, spec=loaded.spec, output="logits"), spec=loaded.spec)
    factors = {item.factors for item in op_facts(program) if item.op == "upsample_bilinear2d"}
    assert (2.0, 2.0) in factors
    assert (4.0, 4.0) not in factors


def test_a_net_that_runs_whole_and_one_without_images_are_refused_in_one_line(images: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to rewrite"):
        rewritten(Net(nn.ReLU()), "ethos-u55", images, tmp_path / "out")
    with pytest.raises(InputError, match="--data DIR"):
        rewrite_checkpoint(opened(Net(nn.SiLU())), target="edge-tpu", out=tmp_path / "out")
    with pytest.raises(GateError, match="no other way to compute layer_norm"):
        rewritten(Net(nn.LayerNorm(24)), "edge-tpu", images, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_unknown_rewrite_in_a_spec_is_named(tmp_path: Path) -> None:
    from contracts.deployable import trained_folder

    from edgeseg.core.files import write_json
    from edgeseg.models.build import build_spec

    spec = load_checkpoint(trained_folder()).spec
    for wrong, words in (
        (OpRewrite(op="hardswich", to="relu"), "hardswish"),
        (OpRewrite(op="hardswish", to="rely"), "relu"),
        (OpRewrite(op="hardswish", to="relu", layer="clasifier"), "classifier"),
    ):
        with pytest.raises(CheckpointError, match=words):
            build_spec(dataclasses.replace(spec, rewrites=(wrong,)))
    write_json(spec, tmp_path / "spec.json")
    stored = json.loads((tmp_path / "spec.json").read_text())
    del stored["rewrites"]  # as older versions wrote it
    (tmp_path / "spec.json").write_text(json.dumps(stored))
    assert read_json(type(spec), tmp_path / "spec.json") == spec


def test_layers_that_allow_an_approximation_are_rewritten_and_the_others_named(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    both = nn.Sequential(Mean(nn.ELU(), shift=8.0), Mean(nn.ELU(), shift=0.0))
    made = opened(Net(both))
    monkeypatch.setattr("edgeseg.models.open_model", lambda *_arguments, **_options: made)
    command = ["check", "x", "--target", "edge-tpu", "--rewrite", str(tmp_path / "out"), "--data", str(images)]
    assert main([*command, "--json"]) == 3
    printed = json.loads(capsys.readouterr().out)
    assert [(item["layers"], item["refused"] == "") for item in printed["tried"]] == [
        (["middle.0.activation", "middle.1.activation"], False),
        (["middle.0.activation"], True),
    ]
    assert printed["gate"]["label_agreement"] == 1.0
    assert 'layer = "middle.1.activation"' in printed["retraining"]
    assert "middle.0" not in printed["retraining"]
    assert main(["check", "x", "--target", "edge-tpu", "--data", str(images)]) == 2
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("x")
    assert main([*command[:5], str(tmp_path / "mine"), "--data", str(images)]) == 1


def test_the_command_prints_what_was_done(capsys: pytest.CaptureFixture[str], images: Path, tmp_path: Path) -> None:
    done = rewritten(Net(nn.SiLU()), "edge-tpu", images, tmp_path / "out")
    _show_rewrites(dataclasses.replace(done, retraining='[[stages]]\nkind = "rewrite"'))
    printed = " ".join(capsys.readouterr().out.split())
    assert "silu as x * sigmoid(x) in 1 module: done, 100.00 % of labels stay" in printed
    assert "on the accelerator: 2 of 5 ops before, 6 of 6 now" in printed
    assert '[[stages]] kind = "rewrite"' in printed


def test_views_of_many_dimensions_are_followed_exactly() -> None:
    from edgeseg.models.rewriting import rewrite_ops

    class Attention(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            n, c, h, w = x.shape
            tokens = x.flatten(2).transpose(1, 2)
            parts = tokens.reshape(n, h * w, 3, 2, c // 6).permute(2, 0, 3, 1, 4)
            q, k, v = parts.unbind(0) if h == 4 else (parts[0], parts[1], parts.select(0, 2))
            return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, h * w, c // 3)

    class Windows(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            n, c, h, w = x.shape
            parted = x.permute(0, 2, 3, 1).reshape(n, h // 2, 2, w // 2, 2, c)
            return parted.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, 4, c)

    for net in (Attention(), Windows(), Shuffle()):
        for shape in ((1, 12, 4, 6), (1, 12, 6, 4), (2, 12, 4, 4)):
            x = torch.randn(shape)
            wanted = net(x)
            changed = rewrite_ops(type(net)(), (OpRewrite(op="reshape", to="4 dimensions"),))
            assert torch.equal(changed(x), wanted)
            if shape[0] > 1:
                continue
            program = torch.export.export(changed, (x,))
            program.graph.eliminate_dead_code()
            ranks = [node.meta["val"].dim() for node in program.graph.nodes if isinstance(node.meta.get("val"), Tensor)]
            used = [node.meta["val"].dim() for node in program.graph.nodes
                    if isinstance(node.meta.get("val"), Tensor) and node.users]  # fmt: skip
            assert max(used) <= 4, ranks


def test_a_failed_forward_leaves_nothing_behind() -> None:
    from edgeseg.models.rewriting import rewrite_ops

    net = rewrite_ops(nn.Sequential(nn.Hardswish()), (OpRewrite(op="hardswish", to="relu"),))
    with pytest.raises(TypeError):
        net("no tensor")
    x = torch.tensor([-1.0, 1.0])
    assert torch.equal(F.hardswish(x), nn.Hardswish()(x))
    assert torch.equal(net(x), F.relu(x))


def test_retraining_names_the_way_that_keeps_most_labels() -> None:
    from edgeseg.deploy.rewriting_search import TriedRewrite

    def tried(to: str, agreement: float, refused: str) -> TriedRewrite:
        return TriedRewrite(op="gelu", to=to, does="", exact=False, layers=("a",), agreement=agreement, refused=refused)

    text = retraining((tried("x * sigmoid(1.702 x)", 0.97, "labels"), tried("relu", 0.5, "labels")))
    assert text.count("{ op") == 1
    assert "1.702" in text
    assert retraining((tried("relu", 0.5, "labels"), tried("relu", 0.99, ""))) == ""
