"""Every stage of ours keeps the contract."""

from __future__ import annotations

import pytest
from contracts.stage_contract import StageContract

from edgeseg.cli.main import main


class TestPrune(StageContract):
    name, table = "prune", {"macs": 0.7, "images": 4}


class TestSparsify(StageContract):
    name, table = "sparsify", {"sparsity": 0.5}


class TestLottery(StageContract):
    name, table = "lottery", {"sparsity": 0.5, "rewind": "START"}


class TestFinetune(StageContract):
    name = "finetune"


class TestDistill(StageContract):
    name, table = "distill", {"teachers": ["START"], "live": True}


class TestEqualize(StageContract):
    name, table = "equalize", {"images": 4}


class TestBiasCorrection(StageContract):
    name, table = "bias_correction", {"images": 4}


class TestAdaround(StageContract):
    name, table = "adaround", {"images": 4, "steps": 2}


class TestSmooth(StageContract):
    name, table = "smooth", {"images": 4}
    architecture = "segformer_b0"


class TestQat(StageContract):
    name = "qat"
    architecture = "lraspp_mobilenet_v3_small"


class TestHalfWeights(StageContract):
    name = "half_weights"


class TestSwap(StageContract):
    name, table = "swap", {"architecture": "lraspp_mobilenet_v3_small_relu", "images": 4}
    architecture = "lraspp_mobilenet_v3_small"


class TestGates(StageContract):
    name, table = "gates", {"agreement": 0.05, "images": 4}
    architecture = "lraspp_mobilenet_v3_small"


class TestRewrite(StageContract):
    name, table = "rewrite", {"rewrites": [{"op": "hardswish", "to": "relu"}], "images": 4}
    architecture = "lraspp_mobilenet_v3_small"


def test_stages_are_listed_with_what_they_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compress", "--stages"]) == 0
    printed = capsys.readouterr().out
    assert "remove whole channels: a dense, narrower net" in printed
    assert "unavailable" not in printed


def test_compress_without_a_recipe_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["compress", "--dry-run"])
    assert left.value.code == 2
    assert "RECIPE is missing" in capsys.readouterr().err
