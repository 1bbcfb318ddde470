"""Foreign weights become checkpoints whole or not at all, and compute what they computed where they come from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

from edgeseg.cli.main import main
from edgeseg.errors import CheckpointError, InputError
from edgeseg.models import build, load_checkpoint
from edgeseg.models.checkpoint import read_training
from edgeseg.models.foreign.import_weights import import_weights
from edgeseg.models.foreign.net_maps import NET_MAPS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edgeseg.models.foreign.key_map import KeyMap

SIZE = (64, 96)
MAPS = pytest.mark.parametrize("by", NET_MAPS, ids=lambda by: by.layout)
SMALL = pytest.mark.parametrize(
    "by", [by for by in NET_MAPS if by.net in ("segformer_b0", "fast_scnn")], ids=lambda by: by.layout
)


def untranslate(own: Mapping[str, Tensor], *, by: KeyMap) -> dict[str, Tensor]:
    """Return our tensors under another project's keys: the inverse of `translate`, without what it drops.

    Folded biases come back as zeros.
    """
    joined = {item.theirs: torch.cat([own[name] for name in item.ours], dim=item.axis) for item in by.splits}
    parts = {name for item in by.splits for name in item.ours}
    names = {key: by.theirs(key) for key in own if key not in parts}
    biases = {bias: torch.zeros_like(own[mean]) for bias, mean in by.folded}
    return {theirs: own[key] for key, theirs in names.items() if theirs is not None} | joined | biases


def foreign(by: KeyMap) -> dict[str, Tensor]:
    return untranslate(own_state(by), by=by)


def own_state(by: KeyMap) -> dict[str, Tensor]:
    torch.manual_seed(1)
    return build(by.net, classes=5, size=SIZE, arguments=by.arguments).state_dict()


@MAPS
def test_every_map_names_every_tensor_once_in_both_directions(by: KeyMap) -> None:
    with torch.device("meta"):
        own = own_state(by)
    parts = {name for item in by.splits for name in item.ours}
    assert [key for key in own if key not in parts and by.theirs(key) is None] == []
    assert all(by.ours(by.theirs(key) or "") == key for key in own if key not in parts)
    assert len({theirs for theirs, _ in by.modules}) == len(by.modules) == len({ours for _, ours in by.modules})


@SMALL
def test_weights_come_back_bit_for_bit_from_any_wrapper(by: KeyMap, tmp_path: Path) -> None:
    own = own_state(by)
    torch.save({"model": {f"module.{key}": value for key, value in foreign(by).items()}}, tmp_path / "f.pth")
    done = import_weights(tmp_path / "f.pth", tmp_path / "out", name=by.net, size=SIZE)
    assert (done.layout, done.fresh, len(done.spec.classes)) == (by.layout, (), 5)
    loaded = load_checkpoint(tmp_path / "out").net.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in own.items())
    assert read_training(tmp_path / "out")["imported"]["layout"] == by.layout  # type: ignore[index]


def test_logits_are_those_of_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    torch.manual_seed(0)
    config = transformers.SegformerConfig(num_labels=7, decoder_hidden_size=256)
    theirs = transformers.SegformerForSemanticSegmentation(config).eval()
    for norm in (item for item in theirs.modules() if isinstance(item, torch.nn.BatchNorm2d)):
        torch.nn.init.normal_(norm.running_mean)
        torch.nn.init.uniform_(norm.running_var, 0.5, 2.0)
    torch.save(theirs.state_dict(), tmp_path / "state.pth")
    theirs.save_pretrained(tmp_path / "saved")
    x = torch.randn(1, 3, *SIZE)
    with torch.no_grad():
        wanted = theirs(x).logits
    for name in ("state.pth", "saved/model.safetensors"):
        import_weights(tmp_path / name, tmp_path / "out", name="segformer_b0", size=SIZE)
        with torch.no_grad():
            found = load_checkpoint(tmp_path / "out").net(x)
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_weights_that_are_not_whole_are_refused_with_the_account(tmp_path: Path) -> None:
    (by, *_) = NET_MAPS
    state = foreign(by)
    state.pop("segformer.encoder.block.2.1.mlp.dense1.weight")
    state["surprise.weight"] = torch.zeros(3)
    state["decode_head.linear_c.0.proj.weight"] = torch.zeros(256, 64)
    torch.save(state, tmp_path / "f.pth")
    with pytest.raises(
        CheckpointError,
        match=r"recognised as Hugging Face SegFormer, .*1 missing, first encoder\.stages\.2.*"
        r"1 left over, first surprise\.weight.*1 of another shape, first decoder\.project\.0",
    ):
        import_weights(tmp_path / "f.pth", tmp_path / "out", name=by.net, size=SIZE, allow_missing=True)
    assert not (tmp_path / "out").exists()


def test_only_a_classifier_may_be_missing(tmp_path: Path) -> None:
    (by, *_) = NET_MAPS
    state = foreign(by)
    for key in ("decode_head.classifier.weight", "decode_head.classifier.bias"):
        state.pop(key)
    torch.save(state, tmp_path / "f.pth")
    (tmp_path / "spec.toml").write_text('schema = 1\nclasses = ["road", "sky"]\nsize = [64, 96]\n', encoding="utf-8")
    command = ["models", "import", str(tmp_path / "f.pth"), "--as", by.net, "--spec", str(tmp_path / "spec.toml")]
    assert main([*command, "-o", str(tmp_path / "out")]) == 1
    assert main([*command, "-o", str(tmp_path / "out"), "--allow-missing"]) == 0
    assert load_checkpoint(tmp_path / "out").spec.classes == ("road", "sky")


def test_unknown_keys_without_a_spec_ask_for_one(tmp_path: Path) -> None:
    torch.save({"a.weight": torch.zeros(1)}, tmp_path / "f.pth")
    with pytest.raises(InputError, match=r"--spec spec\.toml"):
        import_weights(tmp_path / "f.pth", tmp_path / "out", name="bisenet_v2")


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["import", "a.pth"], 2, "needs FILE, --as NAME and -o DIR"),
        (["--as", "fast_scnn"], 2, "--as belongs to models import"),
        (["import", "absent.pth", "--as", "segformer_b0", "-o", "out"], 1, "no such weights file"),
        (["import", "absent.pth", "--as", "segformer_b00", "-o", "out"], 1, 'Did you mean "segformer_b0"'),
    ],
)
def test_wrong_commands_are_one_line(
    arguments: list[str], status: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", *arguments]) == status
    assert words in capsys.readouterr().err
