"""What every architecture of the entry-point group `edgeseg.models` promises."""

from __future__ import annotations

import copy
import dataclasses
import functools
import inspect
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, fx, nn

from edgeseg.compress.prune.budget import Budget
from edgeseg.compress.prune.importance import norm_gains
from edgeseg.compress.prune.pruner import prune, save
from edgeseg.core.spec_file import SpecFile
from edgeseg.errors import InputError
from edgeseg.graph.float_graph import float_graph
from edgeseg.graph.norms import BatchNorm, find_norms
from edgeseg.graph.quantization_points import op_name, plan_quantization, point_names
from edgeseg.models import architecture, build, load_checkpoint, save_checkpoint, without_aux

if TYPE_CHECKING:
    from pathlib import Path

    from edgeseg.core.spec import ModelSpec

# An odd ratio of sides and the smallest; the rest behind the marker, as each takes a second.
SHAPES = [
    (19, (352, 480)),
    (2, (32, 64)),
    *(pytest.param(*shape, marks=pytest.mark.slow) for shape in ((2, (384, 480)), (19, (256, 256)), (5, (96, 128)))),
]


def image(size: tuple[int, int], *, batch: int = 1) -> Tensor:
    """Return noise of shape (batch, 3, *size), the same every time."""
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(0))


@functools.lru_cache(maxsize=2)
def _built(name: str, classes: int, size: tuple[int, int], aux: bool) -> nn.Module:
    torch.manual_seed(0)
    return build(name, classes=classes, size=size, aux=aux)


@functools.lru_cache(maxsize=1)
def _exported(name: str) -> tuple[nn.Module, fx.GraphModule]:
    """Return the net, with its aux heads, and its exported and folded graph; exporting takes seconds."""
    net = _built(name, 5, (64, 96), True).eval()
    return net, float_graph(net, size=(64, 96))


class ModelContract:
    """Subclass it with `name = "..."`."""

    name: str

    def net(self, *, classes: int = 5, size: tuple[int, int] = (64, 96), aux: bool = False) -> nn.Module:
        return copy.deepcopy(_built(self.name, classes, size, aux))

    def test_it_is_registered_under_its_own_name(self) -> None:
        assert architecture(self.name).name == self.name

    @pytest.mark.parametrize(("classes", "size"), SHAPES, ids=str)
    def test_logits_have_the_output_stride(self, classes: int, size: tuple[int, int]) -> None:
        stride = architecture(self.name).output_stride
        with torch.no_grad(), torch.device("meta"):  # shapes alone
            logits = build(self.name, classes=classes, size=size).eval()(torch.empty(1, 3, *size))
        assert logits.shape == (1, classes, size[0] // stride, size[1] // stride)

    def test_logits_are_finite(self) -> None:
        with torch.no_grad():
            assert torch.isfinite(self.net().eval()(image((64, 96)))).all()

    def test_a_size_between_multiples_is_refused_with_the_nearest(self) -> None:
        multiple = architecture(self.name).size_multiple
        floors = [side // multiple * multiple for side in (500, 333)]
        below, above = ("x".join(str(side + more) for side in floors) for more in (0, multiple))
        with pytest.raises(InputError, match=rf"500x333.*Use {below} or {above}"):
            self.net(size=(500, 333))

    def test_aux_logits_come_in_training_mode_only(self) -> None:
        net = self.net(aux=True)
        outputs = net.train()(image((64, 96), batch=2))
        assert isinstance(outputs, tuple) == self.takes_aux(), "auxiliary heads are optional"
        if isinstance(outputs, tuple):
            assert len(outputs) >= 2
            assert outputs[0].shape[:2] == (2, 5)
            assert all(output.shape[1] in (5, 1) for output in outputs), "one channel is a boundary head"
        assert isinstance(net.eval()(image((64, 96))), Tensor)
        assert isinstance(self.net().train()(image((64, 96), batch=2)), Tensor)

    def test_dropping_aux_heads_keeps_the_logits(self) -> None:
        net = self.net(aux=True).eval()
        bare = without_aux(net)
        assert bare.state_dict().keys() == self.net().state_dict().keys()
        with torch.no_grad():
            assert torch.equal(bare(image((64, 96))), net(image((64, 96))))

    def test_weights_load_across_sizes(self) -> None:
        other = self.net(size=(96, 128))
        other.load_state_dict(self.net(size=(64, 64)).state_dict())

    def test_every_weight_learns(self) -> None:
        net = self.net(aux=True).train()
        outputs = net(image((64, 96), batch=2))
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        sum(output.square().mean() for output in outputs).backward()
        assert [key for key, weight in net.named_parameters() if weight.grad is None] == []

    def test_the_first_loss_is_that_of_a_guess(self) -> None:
        logits = self.net().train()(image((64, 96), batch=2))
        loss = nn.functional.cross_entropy(logits, torch.zeros(2, *logits.shape[2:], dtype=torch.long))
        assert loss.item() == pytest.approx(torch.log(torch.tensor(5.0)).item(), abs=0.3)

    def test_the_exported_graph_keeps_the_logits_and_reads_no_shape(self) -> None:
        net, graph = _exported(self.name)
        assert not [node.name for node in graph.graph.nodes if "sym_size" in str(node.target)]
        with torch.no_grad():
            torch.testing.assert_close(graph(image((64, 96))), net(image((64, 96))), rtol=1e-4, atol=1e-4)

    def test_no_foldable_norm_remains_and_int8_reaches_every_layer(self) -> None:
        _, graph = _exported(self.name)
        nodes = [node for node in graph.graph.nodes if node.op == "call_function"]
        norms = [node for node in nodes if op_name(node) == "batch_norm"]
        assert [node.args[0].name for node in norms if op_name(node.args[0]) in ("conv2d", "linear")] == []
        names = point_names(nodes)
        layers = {names[node] for node in nodes if op_name(node) in ("conv2d", "linear")}
        assert layers
        assert layers - set(plan_quantization(graph).in_int8) == set()

    def test_importance_sees_every_norm(self) -> None:
        net = self.net().eval()
        found, gains = find_norms(net, size=(64, 96)), norm_gains(net, size=(64, 96))
        norms = {name for name, module in net.named_modules() if isinstance(module, BatchNorm)}
        assert {found.behind[layer] for layer in gains} == norms - {item.norm for item in found.kept}
        # A norm may stay where it follows no layer, as behind a mean; never because of how the net is written.
        assert [item for item in found.kept if not item.reason.startswith("it follows ")] == []

    def test_one_input_channel_where_it_says_so(self) -> None:
        able = architecture(self.name).input_channels
        if 1 in able:
            with torch.no_grad(), torch.device("meta"):
                net = build(self.name, classes=5, size=(64, 96), inputs=1).eval()
                assert net(torch.empty(1, 1, 64, 96)).shape[:2] == (1, 5)
        with pytest.raises(InputError, match="2 input channels"):
            build(self.name, classes=5, size=(64, 96), inputs=2)

    @pytest.mark.slow
    def test_pruned_by_half_it_opens_again_and_exports(self, tmp_path: Path) -> None:
        saved = save_checkpoint(tmp_path / "whole", net=self.net(aux=True), spec=self.spec())
        assert saved.weights_sha256
        pruned = prune(load_checkpoint(tmp_path / "whole"), budget=Budget(macs=0.5), floor=0.1)
        assert pruned.after.macs <= 0.5 * pruned.before.macs
        save(pruned, tmp_path / "half")
        half = load_checkpoint(tmp_path / "half")
        program = torch.export.export(half.net, (image((64, 96)),))
        with torch.no_grad():
            wanted = pruned.net(image((64, 96)))
            torch.testing.assert_close(half.net(image((64, 96))), wanted)
            torch.testing.assert_close(program.module()(image((64, 96))), wanted)

    def takes_aux(self) -> bool:
        return "aux" in inspect.signature(architecture(self.name).build).parameters

    def spec(self, *, classes: int = 5, size: tuple[int, int] = (64, 96)) -> ModelSpec:
        said = SpecFile(schema=1, classes=classes, size=size)
        spec = said.model_spec(architecture=self.name, output_stride=architecture(self.name).output_stride)
        return dataclasses.replace(spec, name="small", output=None)
