"""The reference evaluator of Core AI's programs: its ops against torch, its file against what it should refuse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from contracts import tiny_artifact as tiny
from contracts.coreai_text import constant, install_stand_in, kind, program
from contracts.engine_contract import EngineContract
from torch.nn import functional as F

from edgeseg.core import registry
from edgeseg.errors import ArtifactError, GateError, MissingDependency, UnsupportedError
from edgeseg.runtime import load, verify
from edgeseg.runtime.engines.coreai.program import read_coreai

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RANDOM = np.random.default_rng(5)
INPUT = RANDOM.normal(0, 3, (1, 8, 12, 10)).astype(np.float32)
WEIGHT = RANDOM.normal(0, 1, (6, 4, 3, 3)).astype(np.float32)
BACK = RANDOM.normal(0, 1, (8, 3, 3, 3)).astype(np.float32)


def u(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.uint32)


def s(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int32)


def f(*numbers: float) -> np.ndarray:
    return np.array(numbers, np.float32)


def one(value: float, dtype: str = "int32") -> np.ndarray:
    return np.array(value, dtype)


def computed(name: str, constants: list[np.ndarray], wanted: np.ndarray, *, first: int = 0, words: str = "") -> Any:
    """Return what a program of one op computes for INPUT; the input is operand number `first`."""
    lines = [constant(f"c{place}", value) for place, value in enumerate(constants)]
    operands = [f"%c{place}" for place in range(len(constants))]
    operands.insert(first, "%arg0")
    words = f" <{{{words}}}>" if words else ""
    lines.append(f'    %r = "coreai.{name}"({", ".join(operands)}){words} : () -> {kind(wanted)}')
    return read_coreai(program(lines, takes=kind(INPUT), output="%r", gives=kind(wanted))).evaluate(INPUT)


OPS: list[tuple[str, list[np.ndarray], Callable[[torch.Tensor], torch.Tensor], int, str]] = [
    ("conv2d", [WEIGHT, u(2, 1), u(1, 2), one(2, "uint32")],
     lambda x: F.conv2d(x, torch.from_numpy(WEIGHT), stride=(2, 1), dilation=(1, 2), groups=2), 0, ""),
    ("conv_transpose2d", [BACK, u(2, 2), u(1, 1), u(1, 1), u(1, 1), one(1, "uint32")],
     lambda x: F.conv_transpose2d(x, torch.from_numpy(BACK), stride=2, padding=1, output_padding=1), 0, ""),
    ("sum_pool_2d", [u(3, 2), u(2, 2), u(1, 1)], lambda x: F.avg_pool2d(x, (3, 2), 2) * 6, 0, ""),
    ("max_pool_2d", [u(3, 3), u(1, 2), u(2, 1), one(False, "bool")],
     lambda x: F.max_pool2d(x, 3, (1, 2), dilation=(2, 1)), 0, ""),
    ("interpolate", [s(1, 8, 24, 25), f(1, 1, 2, 2.5), f(0, 0, 0, 0)],
     lambda x: F.interpolate(x, (24, 25), mode="bilinear"), 0,
     "interpolation_mode = #coreai.interpolation_mode<linear>"),
    ("interpolate", [s(1, 8, 34, 28), f(1, 1, 3, 3), f(0, 0, -1, -1)],
     lambda x: F.interpolate(x, (34, 28), mode="bilinear", align_corners=True), 0,
     "interpolation_mode = #coreai.interpolation_mode<linear>"),
    ("interpolate", [s(1, 8, 48, 20), f(1, 1, 4, 2), f(0, 0, 0, 0)], lambda x: F.interpolate(x, (48, 20)), 0,
     "interpolation_mode = #coreai.interpolation_mode<nearest_neighbor>"),
    ("pad", [u(0, 0, 0, 0, 1, 2, 3, 0), f(-1.5).reshape(())], lambda x: F.pad(x, (3, 0, 1, 2), value=-1.5), 0,
     "padding_mode = #coreai.padding_mode<constant>"),
    ("pad", [u(0, 0, 0, 0, 1, 2, 3, 0), f(0).reshape(())], lambda x: F.pad(x, (3, 0, 1, 2), mode="reflect"), 0,
     "padding_mode = #coreai.padding_mode<reflect>"),
    ("pad", [u(0, 0, 0, 0, 1, 2, 3, 0), f(0).reshape(())], lambda x: F.pad(x, (3, 0, 1, 2), mode="replicate"), 0,
     "padding_mode = #coreai.padding_mode<replicate>"),
    ("slice", [s(0, 1, -4, 0), s(1, 7, 12, 9), s(1, 2, 1, 3)], lambda x: x[:, 1:7:2, -4:12, 0:9:3], 0, ""),
    ("concat", [one(1), INPUT[:, :3]], lambda x: torch.cat([x, torch.from_numpy(INPUT[:, :3])], 1), 1, ""),
    ("softmax", [one(-3)], lambda x: x.softmax(1), 0, ""),
    ("gelu", [], F.gelu, 0, ""),
    ("gelu", [], lambda x: F.gelu(x, approximate="tanh"), 0, 'approximate = "tanh"'),
    ("reduce_mean", [s(2, -1)], lambda x: x.mean((2, 3), keepdim=True), 0, ""),
    ("decomposable.broadcasting_batch_matmul", [INPUT[0, 0, :10, :4].copy()],
     lambda x: x @ torch.from_numpy(INPUT[0, 0, :10, :4].copy()), 0, ""),
    ("decomposable.broadcasting_divide", [f(3).reshape(())], lambda x: x / 3, 0, ""),
    ("transpose", [u(0, 2, 3, 1)], lambda x: x.permute(0, 2, 3, 1), 0, ""),
    ("reshape", [s(2, 4, -1)], lambda x: x.reshape(2, 4, -1), 0, ""),
    ("expand_dims", [s(1)], lambda x: x.unsqueeze(1), 0, ""),
    ("relu", [], F.relu, 0, ""), ("sigmoid", [], torch.sigmoid, 0, ""), ("silu", [], F.silu, 0, ""),
    ("erf", [], torch.erf, 0, ""),
]  # fmt: skip


@pytest.mark.parametrize(("name", "constants", "torchs", "first", "words"), OPS)
def test_an_op_computes_what_torch_computes(
    name: str, constants: list[np.ndarray], torchs: Callable[[torch.Tensor], torch.Tensor], first: int, words: str
) -> None:
    wanted = torchs(torch.from_numpy(INPUT)).numpy()
    np.testing.assert_allclose(computed(name, constants, wanted, first=first, words=words), wanted, atol=2e-5)


def test_labels_are_the_first_of_equals_and_a_split_has_several_results() -> None:
    wanted = INPUT.argmax(1, keepdims=True).astype(np.uint32)
    found = computed("argmax", [one(1)], wanted)
    assert found.dtype == np.uint32
    np.testing.assert_array_equal(found, wanted)
    part = kind(INPUT[:, :4])
    lines = [
        constant("n", s(4, 4)), constant("a", one(1)),
        f'    %x:2 = "coreai.split"(%arg0, %n, %a) : () -> ({part}, {part})',
    ]  # fmt: skip
    split = read_coreai(program(lines, takes=kind(INPUT), output="%x#1", gives=part))
    np.testing.assert_array_equal(split.evaluate(INPUT), INPUT[:, 4:])


def test_halves_are_rounded_after_each_op() -> None:
    half = kind(INPUT.astype(np.float16))
    lines = [
        constant("third", np.array(1 / 3, np.float16)),
        f'    %0 = "coreai.cast"(%arg0) : () -> {half}',
        f'    %1 = "coreai.mul"(%0, %third) : () -> {half}',
        f'    %2 = "coreai.cast"(%1) : () -> {kind(INPUT)}',
    ]
    found = read_coreai(program(lines, takes=kind(INPUT), output="%2", gives=kind(INPUT))).evaluate(INPUT)
    np.testing.assert_array_equal(found, (INPUT.astype(np.float16) * np.float16(1 / 3)).astype(np.float32))


def test_constants_in_every_form_and_a_graph_that_calls_another() -> None:
    scalar = "tensor<2xf32>"
    lines = [
        f'    %0 = "coreai.constant"() <{{value = dense<[1.500000e+00, -2.0]> : {scalar}}}> : () -> {scalar}',
        f'    %1 = "coreai.constant"() <{{value = dense<0x7F800000> : {scalar}}}> : () -> {scalar}',
        f'    %2 = "coreai.constant"() <{{value = dense_resource<big> : {scalar}}}> : () -> {scalar}',
        f'    %3 = "coreai.minimum"(%0, %1) : () -> {scalar}',
        f'    %4 = "coreai.invoke"(%3, %2) <{{callee = #param.constant<@sum_of> : !param.symbol}}> : () -> {scalar}',
    ]
    called = f"""  "coreai.graph"() <{{sym_name = "sum_of"}}> ({{
  ^bb0(%arg1: {scalar}, %arg2: {scalar}):
    %9 = "coreai.add"(%arg1, %arg2) : () -> {scalar}
    "coreai.output"(%9) : ({scalar}) -> ()
  }}) : () -> ()
"""
    tail = f'\n{{-#\n  dialect_resources: {{\n    builtin: {{\n      big: "0x04000000{f(10, 20).tobytes().hex()}"\n'
    text = program(lines, takes=scalar, output="%4", gives=scalar, before=called, tail=tail)
    np.testing.assert_array_equal(read_coreai(text).evaluate(f(0, 0)), f(11.5, 18))
    with pytest.raises(ArtifactError, match="the constant big is missing"):
        read_coreai(text.replace("      big:", "      small:"))
    with pytest.raises(UnsupportedError, match=r'line \d+: "sum_of"'):
        read_coreai(text.replace('sym_name = "sum_of"', 'sym_name = "other"'))


def test_what_it_does_not_know_is_named_and_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UnsupportedError, match=r'does not know line \d+: "sort"\. Run the file with Core AI on a Mac'):
        computed("sort", [one(1)], INPUT)
    with pytest.raises(ArtifactError, match=r"relu gives \(1, 8, 12, 10\), not \(1, 8, 12\)"):
        computed("relu", [], INPUT[..., 0])
    with pytest.raises(ArtifactError, match="no graph named main"):
        read_coreai("hello")
    with pytest.raises(UnsupportedError, match="cannot be read"):
        read_coreai(program(['    "scf.while"() ({'], takes=kind(INPUT), output="%arg0", gives=kind(INPUT)))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toolchains")
    install_stand_in(folder)
    return folder


class TestCoreAIReference(EngineContract):
    engine, file_format = "coreai-reference", "coreai"

    @pytest.fixture(autouse=True)
    def _installed(self, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EDGESEG_TOOLCHAINS", str(store))

    @pytest.mark.parametrize("fault", ["bytes", "cut", "gone"])
    def test_a_damaged_model_file_ends_with_one_line(self, folder: Path, fault: str) -> None:
        path = folder / "model.aimodel" / "main.mlirb"
        content = path.read_bytes()
        if fault == "gone":
            path.unlink()
        else:
            path.write_bytes(b"\xff\x00" if fault == "bytes" else content[: len(content) // 2])
        tiny.reseal(folder)
        with pytest.raises((ArtifactError, UnsupportedError)) as caught:
            load(folder, engine=self.engine)
        assert "\n" not in str(caught.value)

    def test_a_changed_weight_changes_the_proof(self, folder: Path) -> None:
        path = folder / "model.aimodel" / "main.mlirb"
        kernel, bias = tiny.weights()
        other = tiny.tiny_program(np.roll(kernel, 1, axis=0), bias, tiny.SIZE, tiny.STRIDE)
        path.write_text(other)
        tiny.reseal(folder)
        with pytest.raises(GateError, match="of the golden labels"):
            verify(folder, engine=self.engine)


def test_without_the_toolchain_one_line_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGESEG_TOOLCHAINS", str(tmp_path / "none"))
    folder = tiny.make_artifact(tmp_path / "artifact", file_format="coreai").folder
    status = registry.load_plugin("engines", "coreai-reference").status()
    assert not status.available
    with pytest.raises(MissingDependency, match="edgeseg toolchain install coreai"):
        load(folder)
