"""A temperature makes probabilities mean what they say, is judged on other images, and reaches the artifact."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from contracts import tiny_artifact as tiny
from contracts.deployable import deployable

from edgeseg.calibration.temperature import fit_temperature, nll
from edgeseg.cli.main import main
from edgeseg.core.artifact import open_artifact
from edgeseg.core.files import read_json, write_json
from edgeseg.core.spec import Preprocess
from edgeseg.core.temperature import TEMPERATURE_FILE, Temperature, read_temperature
from edgeseg.errors import CheckpointError
from edgeseg.metrics.calibration_error import calibration_error
from edgeseg.models.checkpoint import save_checkpoint
from edgeseg.pixels import labels_of_cells
from edgeseg.runtime import load
from edgeseg.runtime.frames.frame_processor import FrameProcessor

FITTED = Temperature(
    value=2.0, fitted=2.0, weights_sha256="0" * 64, data="d", split="val", images=2, cells=9, halves=(2.0, 2.0),
    nll_before=1.0, nll_after=0.9, ece_before=0.1, ece_after=0.05,
)  # fmt: skip


def draws(logits: np.ndarray) -> np.ndarray:
    """Return labels drawn by the probabilities of `logits`: those are calibrated by construction."""
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    return (shares.cumsum(axis=1) < np.random.default_rng(1).random((len(logits), 1))).sum(axis=1)


@pytest.mark.parametrize("true", [0.4, 1.0, 2.5])
def test_the_temperature_of_overstated_logits_is_found(true: float) -> None:
    logits = np.random.default_rng(0).normal(0, 2, (20_000, 5)).astype(np.float32)
    labels = draws(logits)
    overstated = logits * np.float32(true)
    found = fit_temperature(overstated, labels)
    assert found == pytest.approx(true, rel=0.04)
    assert calibration_error(overstated, labels, temperature=found) < 0.015
    assert nll(overstated, labels, temperature=found) <= nll(overstated, labels, temperature=1.0)
    if true != 1.0:
        assert calibration_error(overstated, labels, temperature=1.0) > 0.05


def test_labels_are_taken_at_the_cells_centres_and_bars_are_ignored() -> None:
    labels = np.arange(32, dtype=np.uint8).reshape(4, 8).repeat(8, axis=0).repeat(8, axis=1)
    plain = labels_of_cells(labels, cells=(4, 8), input_size=(32, 64), preprocess=Preprocess(), ignore=255)
    np.testing.assert_array_equal(plain, np.arange(32))
    boxed = Preprocess(resize="letterbox")
    found = labels_of_cells(labels, cells=(8, 8), input_size=(64, 64), preprocess=boxed, ignore=255).reshape(8, 8)
    np.testing.assert_array_equal(found[2:6].reshape(-1), np.arange(32))
    assert (found[[0, 1, 6, 7]] == 255).all()


def test_the_verb_stores_a_temperature_for_these_weights_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, made = tmp_path / "checkpoint", deployable()
    save_checkpoint(checkpoint, net=made.net, spec=made.spec)
    calibrate = ["calibrate", str(checkpoint), "--temperature", "--data", "streets:6:5"]
    assert main([*calibrate, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["temperature"]
    found = read_json(Temperature, checkpoint / TEMPERATURE_FILE)
    assert told["value"] == found.value
    assert found.images == 6
    assert found.split == "val"
    assert found.value in (found.fitted, 1.0)
    assert read_temperature(checkpoint, weights_sha256=found.weights_sha256) == found
    with pytest.raises(CheckpointError, match="other weights"):
        read_temperature(checkpoint, weights_sha256="f" * 64)
    for split in ("train", "test"):
        assert main([*calibrate, "--split", split]) == 1
        assert f"not fitted on {split} images" in capsys.readouterr().err


def test_the_manifest_carries_it_and_old_manifests_stay_intact(tmp_path: Path) -> None:
    stored = Path(shutil.copytree(Path(__file__).parents[1] / "stored" / "artifact-schema-1", tmp_path / "old"))
    table = json.loads((stored / "manifest.json").read_text())
    del table["temperature"]
    (stored / "manifest.json").write_text(json.dumps(table))
    assert open_artifact(stored).manifest.temperature is None
    folder = tiny.make_artifact(tmp_path / "artifact").folder
    manifest = open_artifact(folder).manifest
    assert manifest.temperature is None
    sealed = dataclasses.replace(manifest, temperature=FITTED).sealed()
    assert sealed.self_sha256 != manifest.self_sha256
    write_json(sealed, folder / "manifest.json")
    assert open_artifact(folder).manifest.temperature == FITTED


def test_doubt_says_whether_it_is_calibrated_and_follows_the_temperature(tmp_path: Path) -> None:
    image = tiny.image()
    with load(tiny.make_artifact(tmp_path / "artifact").folder, threads=1) as session:
        plain, scaled = (
            FrameProcessor(session, uncertainty="margin"),
            FrameProcessor(session, uncertainty="margin", temperature=4.0),
        )
        output = session.infer(plain.prepare(image))
        sure, unsure = plain.read(output, size=tiny.SIZE), scaled.read(output, size=tiny.SIZE)
    assert "not calibrated" in plain.title
    assert "T 4.00" in scaled.title
    assert sure.uncertainty is not None
    assert unsure.uncertainty is not None
    assert unsure.uncertainty.mean() > sure.uncertainty.mean()
    np.testing.assert_array_equal(sure.labels, unsure.labels)


def test_run_tells_the_temperature_of_the_doubt_it_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tiny.make_artifact(tmp_path / "artifact").folder
    cv2.imwrite(str(tmp_path / "p.png"), tiny.image())
    run = ["run", str(folder), "--source", str(tmp_path / "p.png"), "--headless", "--threads", "1"]
    assert main([*run, "--uncertainty", "entropy"]) == 0
    assert "not calibrated" in capsys.readouterr().err
    manifest = dataclasses.replace(open_artifact(folder).manifest, temperature=FITTED)
    write_json(manifest.sealed(), folder / "manifest.json")
    assert main([*run, "--uncertainty", "entropy", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["uncertainty"] == {"kind": "entropy", "temperature": 2.0}
