"""Every stage of ours keeps the contract."""

from __future__ import annotations

from contracts.stage_contract import StageContract


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


class TestQat(StageContract):
    name = "qat"


class TestSwap(StageContract):
    name, table = "swap", {"architecture": "lraspp_mobilenet_v3_small_relu", "images": 4}


class TestGates(StageContract):
    name, table = "gates", {"agreement": 0.05, "images": 4}
