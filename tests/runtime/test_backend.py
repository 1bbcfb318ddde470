"""The manifest says how an artifact runs; the runtime follows it."""

from __future__ import annotations

import dataclasses
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pytest
from contracts import tiny_artifact as tiny

from edgeseg.core.artifact import MANIFEST, Artifact, open_artifact
from edgeseg.core.backend import ResolvedBackend
from edgeseg.core.files import write_json
from edgeseg.errors import ArtifactError, InputError, UnknownName
from edgeseg.runtime import load

if TYPE_CHECKING:
    from pathlib import Path


def made_for(folder: Path, *, file_format: str = "tflite", **backend: object) -> Path:
    """Return a tiny artifact whose manifest holds this backend."""
    artifact: Artifact = tiny.make_artifact(folder, file_format=file_format)
    chosen = dataclasses.replace(artifact.manifest.backend, **backend)  # type: ignore[arg-type]
    write_json(dataclasses.replace(artifact.manifest, backend=chosen).sealed(), folder / MANIFEST)
    return folder


def test_threads_come_from_the_manifest(tmp_path: Path) -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with load(made_for(tmp_path / "one", threads=1)) as session:
        assert session.threads == 1
    with load(made_for(tmp_path / "all", threads=200)) as session:
        assert session.threads == cores
    with load(tmp_path / "one", threads=2) as session:
        assert session.threads == 2


@pytest.mark.parametrize("threads", [0, -1, 100_000])
def test_threads_that_an_engine_would_not_survive_are_refused(threads: int, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"threads is {threads}; give 1 to 256"):
        load(made_for(tmp_path / "a"), threads=threads)


def test_a_delegate_of_the_manifest_reaches_the_engine(tmp_path: Path) -> None:
    plain = made_for(tmp_path / "plain")
    builtin = made_for(tmp_path / "builtin", delegate="builtin")
    with load(plain, threads=1) as fast, load(builtin, threads=1) as slow:
        assert (fast.options["delegate"], slow.options["delegate"]) == ("xnnpack", "builtin")
        tensor = fast.preprocess(tiny.image())
        np.testing.assert_allclose(fast.infer(tensor), slow.infer(tensor), atol=1e-3)


def test_a_delegate_that_takes_nothing_is_not_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """XNNPACK gives up without a word where it finds no CPU in /proc and /sys, as in some containers."""
    interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter
    operators = interpreter._get_ops_details
    monkeypatch.setattr(
        interpreter,
        "_get_ops_details",
        lambda self: [item for item in operators(self) if item["op_name"] != "DELEGATE"],
    )
    with load(made_for(tmp_path / "plain"), threads=1) as session:
        assert session.options["delegate"] == "builtin"
    assert "XNNPACK runs none of it here" in caplog.text


def test_options_of_the_manifest_reach_the_engine(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    folder = made_for(tmp_path / "a", file_format="onnx", options={"graph_optimization": "disabled"})
    with load(folder, threads=1) as session:
        assert session.options["graph_optimization"] == "disabled"


@pytest.mark.parametrize(
    ("backend", "message"),
    [
        ({"delegate": "xnnpak"}, 'Unknown delegate of litert "xnnpak".*Did you mean "xnnpack"'),
        ({"options": {"turbo": "1"}}, 'Unknown option of litert "turbo"'),
    ],
)
def test_what_the_engine_does_not_have_is_refused(backend: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match=message):
        load(made_for(tmp_path / "a", **backend))


def test_another_engine_runs_with_its_own_defaults(tmp_path: Path) -> None:
    from edgeseg.core import registry
    from edgeseg.core.protocols import Engine
    from edgeseg.runtime.session.engine_choice import choose_backend

    manifest = open_artifact(made_for(tmp_path / "a", delegate="builtin", threads=1)).manifest
    other = registry.load_plugin("engines", "tflite-runtime")
    assert isinstance(other, Engine)
    assert choose_backend(manifest, engine=other) == ResolvedBackend(engine="tflite-runtime", threads=1)


@pytest.mark.parametrize("file_format", ["tflite", "openvino", "onnx", "executorch", "ncnn"])
def test_threads_that_share_a_session_get_their_own_images_labels(file_format: str, tmp_path: Path) -> None:
    pytest.importorskip({"tflite": "ai_edge_litert", "onnx": "onnxruntime"}.get(file_format, file_format))
    folder = tiny.make_artifact(tmp_path / "a", file_format=file_format, size=(256, 384)).folder
    images = [tiny.image((256, 384), seed=seed) for seed in range(8)]
    with load(folder, threads=1) as session:
        alone = [session.segment(image) for image in images]
        assert len({labels.tobytes() for labels in alone}) == len(images)
        with ThreadPoolExecutor(8) as pool:
            together = list(pool.map(session.segment, images * 20))
    wrong = sum(not np.array_equal(labels, alone[index % 8]) for index, labels in enumerate(together))
    assert (wrong, len(together)) == (0, 160)


def test_logits_that_are_not_numbers_are_an_error_and_no_labels(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    folder = tiny.make_artifact(tmp_path / "a", file_format="onnx").folder
    path = folder / "model.onnx"
    bias = tiny.weights()[1].tobytes()
    content = path.read_bytes()
    assert content.count(bias) == 1
    path.write_bytes(content.replace(bias, np.full(4, np.nan, np.float32).tobytes()))
    tiny.reseal(folder)
    with (
        load(folder, threads=1, trusted=True) as session,
        pytest.raises(ArtifactError, match="gives NaN or infinity"),
    ):
        session.segment(tiny.image())
