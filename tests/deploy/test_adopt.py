"""Foreign files become artifacts that verify and run, and what a spec lacks or contradicts is one clear line."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import pytest
from contracts import tiny_artifact as tiny
from deploy.foreign_files import PIXELS, spec, write_dynamic_onnx

from edgeseg import load
from edgeseg.cli.main import main
from edgeseg.core.file_io import FileRules
from edgeseg.core.spec import Preprocess, TensorSpec
from edgeseg.core.spec_file import read_spec_file
from edgeseg.deploy.foreign import first_run
from edgeseg.deploy.foreign.adopt import adopt
from edgeseg.deploy.foreign.reading import READERS, describe_file
from edgeseg.deploy.foreign.starter import starter_spec
from edgeseg.errors import ArtifactError, InputError, UnknownName, UnsupportedError
from edgeseg.model_files.interpret import choose_output, file_input
from edgeseg.pixels import decode, prepare
from edgeseg.runtime.session.verify import compare_with_golden

if TYPE_CHECKING:
    from pathlib import Path

    from edgeseg.core.artifact import Artifact

FILES = {"tflite": "model.tflite", "onnx": "model.onnx", "openvino": "model.xml"}


@pytest.fixture(scope="module")
def dynamic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dynamic") / "theirs.onnx"
    write_dynamic_onnx(path)
    return path


@pytest.fixture(scope="module")
def adopted(dynamic: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    out = tmp_path_factory.mktemp("adopted") / "artifact"
    return adopt(dynamic, spec=spec(), size=tiny.SIZE, output="shares", out=out)


def expected_labels(image: np.ndarray, size: tuple[int, int], preprocess: Preprocess = PIXELS) -> np.ndarray:
    pixels = TensorSpec(name="image", shape=(1, *size, 3), dtype="float32", layout="NHWC", role="image")
    logits = tiny.logits_of(prepare(image, preprocess=dataclasses.replace(preprocess, in_graph=False), tensor=pixels))
    plain = TensorSpec(name="logits", shape=logits.shape, dtype="float32", layout="NHWC", role="logits")
    return decode(logits, tensor=plain, preprocess=preprocess, input_size=size, size=image.shape[:2])


@pytest.mark.parametrize("file_format", FILES)
def test_a_file_of_bytes_becomes_an_artifact_that_verifies_and_segments(file_format: str, tmp_path: Path) -> None:
    path = tmp_path / FILES[file_format]
    tiny.FORMATS[file_format][1](path, tiny.SIZE)
    made = adopt(path, spec=spec(), out=tmp_path / "out")
    manifest = made.manifest
    assert (manifest.origin, manifest.format, manifest.proof.level) == ("foreign", file_format, "file")
    assert manifest.preprocess.in_graph
    assert compare_with_golden(made.folder, engine=None, threads=1).agreement == 1
    image = tiny.image((50, 70))
    with load(made.folder, threads=1) as session:
        assert np.mean(session.segment(image) == expected_labels(image, tiny.SIZE)) > 0.99


def test_an_open_size_is_fixed_and_an_extra_output_is_ignored(adopted: Artifact) -> None:
    manifest = adopted.manifest
    assert manifest.inputs[0].shape == (1, 3, *tiny.SIZE)
    assert manifest.file is not None
    assert (manifest.file.output.name, manifest.file.output.position) == ("shares", 1)
    assert manifest.outputs[0].values == "probabilities"
    image = tiny.image()
    with load(adopted.folder, threads=1) as session:
        output = session.infer(session.preprocess(image))
        assert output.shape == (1, 4, 8, 12)
        np.testing.assert_allclose(output.sum(axis=1), 1, atol=1e-5)


def test_probabilities_are_not_softened_a_second_time(adopted: Artifact) -> None:
    from edgeseg.pixels import probabilities

    image = tiny.image()
    with load(adopted.folder, threads=1) as session:
        output = session.infer(session.preprocess(image))
        np.testing.assert_allclose(probabilities(output, session.output, classes=4), output[0], atol=1e-4)


def test_another_file_is_not_replaced_without_force(adopted: Artifact, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    tiny.write_onnx(path, tiny.SIZE)
    with pytest.raises(InputError, match="holds another artifact"):
        adopt(path, spec=spec(), out=adopted.folder)


def test_a_missing_spec_gives_a_starter_that_can_be_read(
    dynamic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["adopt", str(dynamic)]) == 1
    shown = capsys.readouterr()
    assert "--spec spec.toml" in shown.err
    assert len(shown.err.strip().splitlines()) == 1
    (tmp_path / "spec.toml").write_text(shown.out, encoding="utf-8")
    said = read_spec_file(tmp_path / "spec.toml")
    assert (len(said.class_names), said.file.output) == (4, "aux")


def test_a_starter_says_what_the_file_says(tmp_path: Path) -> None:
    tiny.write_tflite(tmp_path / "theirs.tflite", tiny.SIZE)
    text = starter_spec(tmp_path / "theirs.tflite")
    assert "size = [64, 96]  # height, width: fixed in the file" in text
    assert "classes = 4" in text
    assert "pixels are passed as they are" in text
    with pytest.raises(InputError, match="fixed to 64x96, so 32x96 is not possible"):
        starter_spec(tmp_path / "theirs.tflite", size=(32, 96))


def test_a_starter_takes_the_size_that_the_file_leaves_open(dynamic: Path, tmp_path: Path) -> None:
    out = tmp_path / "spec.toml"
    assert main(["spec", str(dynamic), "--size", "64x96", "--out", str(out)]) == 0
    text = out.read_text("utf-8")
    assert "size = [64, 96]  # height, width\n" in text, "not marked as guessed"
    assert main(["spec", str(dynamic), "--data", "streets", "--out", str(tmp_path / "other.toml")]) == 1
    assert not (tmp_path / "other.toml").exists()


@pytest.mark.parametrize(
    ("size", "words"), [((64, 64), "fixed in the file; --size says 64x64"), (None, "the spec says 32x96")]
)
def test_a_fixed_size_cannot_be_changed(tmp_path: Path, size: tuple[int, int] | None, words: str) -> None:
    tiny.write_onnx(tmp_path / "model.onnx", tiny.SIZE)
    with pytest.raises(InputError, match=words):
        file_input(describe_file(tmp_path / "model.onnx"), spec(size=(32, 96)), size=size)


def test_several_outputs_need_a_name_and_a_wrong_one_is_corrected(dynamic: Path) -> None:
    found = describe_file(dynamic)
    with pytest.raises(InputError, match=r"has 2 outputs: aux: .*shares: .*--output"):
        choose_output(found, spec(), name=None)
    with pytest.raises(UnknownName, match='Did you mean "shares"'):
        choose_output(found, spec(), name="share")


def test_another_number_of_inputs_or_channels_is_refused(dynamic: Path) -> None:
    found = describe_file(dynamic)
    second = dataclasses.replace(found.inputs[0], name="mask")
    with pytest.raises(UnsupportedError, match=r"takes 2 inputs .*mask"):
        file_input(dataclasses.replace(found, inputs=(*found.inputs, second)), spec(), size=None)
    grey = dataclasses.replace(found.inputs[0], shape=(1, 1, 64, 96))
    with pytest.raises(UnsupportedError, match="not one image of three channels"):
        file_input(dataclasses.replace(found, inputs=(grey,)), spec(), size=None)


@pytest.mark.parametrize("suffix", READERS)
def test_a_damaged_file_is_one_line(suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / f"model{suffix}"
    if suffix == ".mlpackage":
        path.mkdir()
    else:
        path.write_bytes(b"\x1c\0\0\0TFL3" + b"\xff" * 64)
        path.with_suffix(".bin").write_bytes(b"")
    assert main(["adopt", str(path)]) == 1
    assert str(path) in capsys.readouterr().err


def test_a_file_of_another_kind_or_nowhere_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such file; a model file ends in \.onnx"):
        describe_file(tmp_path / "net.pb")
    (tmp_path / "net.pth").write_bytes(b"")
    with pytest.raises(InputError, match=r"edgeseg convert package\.module:factory"):
        describe_file(tmp_path / "net.pth")


def test_a_file_that_takes_other_floats_than_pixels_is_normalised_on_the_host(dynamic: Path) -> None:
    given = file_input(describe_file(dynamic), spec(preprocess=Preprocess()), size=None)
    assert not given.preprocess.in_graph
    assert given.tensor.dtype == "float32"


def test_rules_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="threshold"):
        FileRules(threshold=1.0)
    with pytest.raises(ValueError, match="layout"):
        FileRules(layout="NHHW")
    with pytest.raises(ValueError, match="listed twice"):
        FileRules(ids=(1, 1))


def test_a_file_that_never_answers_says_how_adopt_allows_more(
    dynamic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(*_: object, folder: Path, **__: object) -> None:
        raise ArtifactError(f"{folder}: too slow (edgeseg verify {folder} --time-limit S)")

    monkeypatch.setattr(first_run, "run_isolated", late)
    with pytest.raises(InputError, match=r"theirs\.onnx: too slow \(edgeseg adopt --time-limit S\)$"):
        adopt(dynamic, spec=spec(), size=tiny.SIZE, output="shares", out=tmp_path / "out")
