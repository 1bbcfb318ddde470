"""What every engine must do, on a tiny real artifact of its format."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from contracts import tiny_artifact as tiny

from edgeseg.core import registry
from edgeseg.core.protocols import Engine, EngineStatus
from edgeseg.errors import ArtifactError, InputError
from edgeseg.runtime import load, verify

if TYPE_CHECKING:
    from pathlib import Path


class EngineContract:
    """Subclass with the engine's registered name and a format it runs."""

    engine: str
    file_format: str

    @pytest.fixture(autouse=True)
    def _installed(self) -> None:
        status = self.found().status()
        if not status.available:
            pytest.skip(f"{status.reason} {status.fix}")

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return tiny.make_artifact(tmp_path / "artifact", file_format=self.file_format).folder

    def found(self) -> Engine:
        engine = registry.load_plugin("engines", self.engine)
        assert isinstance(engine, Engine)
        return engine

    def test_says_its_name_formats_and_version(self) -> None:
        engine = self.found()
        assert engine.name == self.engine
        assert self.file_format in engine.formats
        assert isinstance(engine.status(), EngineStatus)
        assert engine.status().version
        assert all(isinstance(key, str) and isinstance(value, str) for key, value in engine.options().items())

    def test_gives_the_logits_of_plain_numpy(self, folder: Path) -> None:
        with load(folder, engine=self.engine, threads=1) as session:
            tensor = session.preprocess(tiny.image())
            output = session.infer(tensor)
            assert output.shape == session.output.shape
            assert output.dtype == session.output.dtype
            planes = output.transpose(0, 2, 3, 1) if session.output.layout == "NCHW" else output
            np.testing.assert_allclose(planes, tiny.logits_of(tensor), atol=2e-4)

    def test_an_output_stays_what_it_was_when_the_next_image_runs(self, folder: Path) -> None:
        with load(folder, engine=self.engine, threads=1) as session:
            first = session.infer(session.preprocess(tiny.image(seed=1)))
            kept = first.copy()
            session.infer(session.preprocess(tiny.image(seed=2)))
            np.testing.assert_array_equal(first, kept)

    def test_repeats_the_golden_sample(self, folder: Path) -> None:
        found = verify(folder, engine=self.engine, threads=2)
        assert found.engine == self.engine
        assert found.input_matches
        assert found.agreement >= 0.999

    def test_labels_have_the_images_size(self, folder: Path) -> None:
        with load(folder, engine=self.engine, threads=1) as session:
            labels = session.segment(tiny.image((50, 70)))
        assert labels.shape == (50, 70)
        assert labels.dtype == np.uint8
        assert len(np.unique(labels)) > 1

    def test_a_wrong_tensor_and_a_closed_session_are_refused(self, folder: Path) -> None:
        session = load(folder, engine=self.engine, threads=1)
        with pytest.raises(InputError, match=r"session\.preprocess"):
            session.infer(np.zeros((1, 8, 8, 3), np.uint8))
        session.close()
        session.close()
        with pytest.raises(InputError, match="closed"):
            session.infer(np.zeros(session.input.shape, session.input.dtype))

    @pytest.mark.parametrize("fault", ["text", "cut", "empty"])
    def test_a_damaged_model_file_ends_with_one_line(self, folder: Path, fault: str) -> None:
        path = load(folder, engine=self.engine, threads=1).artifact.entry
        content = path.read_bytes()
        path.write_bytes({"text": b"not a model at all", "cut": content[: len(content) // 2], "empty": b""}[fault])
        tiny.reseal(folder)
        with pytest.raises(ArtifactError) as caught:
            load(folder, engine=self.engine, threads=1)
        assert path.name in str(caught.value)
        assert "\n" not in str(caught.value)
