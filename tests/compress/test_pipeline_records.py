"""Runs from before still resume: their stage records, as they were written then, are those of today's recipes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from compress.small_teacher import small_teacher

from edgeseg.compress.pipeline.recipe import parse_pipeline
from edgeseg.compress.pipeline.record import RECORD_FILE, StageRecord, check_same, resolved
from edgeseg.compress.pipeline.run import run_pipeline
from edgeseg.core.files import read_json
from edgeseg.core.quantization import read_ranges
from edgeseg.data import open_dataset
from edgeseg.errors import InputError

STORED = Path(__file__).with_name("stored_run")
"""stage.json of each kind, written at commit eab3f70 by the recipes below."""
TRAINING = {
    "schedule": {"epochs": 1, "warmup_epochs": 0},
    "run": {"batch": 2, "tensorboard": False, "seed": 3},
    "loss": {"stride": 3},
}
TEACHERS = {"teachers": ["fast_scnn:streets"]}
STAGES: dict[str, dict[str, object]] = {
    "prune": {"macs": 0.5, "pictures": 4},
    "equalize": {"pictures": 4, "picture": True},
    "finetune": {},
    "distill": {**TEACHERS, "cache": "elsewhere"},
    "qat": {"distill": {**TEACHERS, "live": True}},
    "sparsify": {"sparsity": 0.5, "keep": ["classifier"]},
    "lottery": {"sparsity": 0.6, "rewind": "fast_scnn:streets"},
    "swap": {"architecture": "lraspp_mobilenet_v3_small_relu", "pictures": 4},
    "gates": {"agreement": 0.05, "pictures": 4},
}


def recipe(*kinds: str, model: str = "fast_scnn:streets") -> dict[str, object]:
    return {
        "schema": 1,
        "name": "tiny",
        "model": model,
        "size": [64, 96],
        "data": {"train": "streets:4"},
        "calibration": {"count": 2},
        "training": TRAINING,
        "stages": [{"kind": kind, **STAGES[kind]} for kind in kinds],
    }


@pytest.mark.parametrize("kind", STAGES)
def test_a_record_of_an_earlier_version_is_the_same_stage(kind: str) -> None:
    pipeline = parse_pipeline(recipe(kind), where="r.toml")
    stage, record = pipeline.stages[0], read_json(StageRecord, STORED / f"{kind}.json")
    settings = resolved(stage, data=pipeline.data, size=(64, 96))
    check_same(record, stage, folder=STORED, parent_sha256=record.parent_sha256, settings=settings)


def test_a_setting_that_differs_is_named_by_its_name_of_today() -> None:
    pipeline = parse_pipeline(recipe("prune"), where="r.toml")
    stage, record = pipeline.stages[0], read_json(StageRecord, STORED / "prune.json")
    settings = {**resolved(stage, data=pipeline.data, size=(64, 96)), "images": 8}
    with pytest.raises(InputError, match="was made with images = 4; the recipe now says 8"):
        check_same(record, stage, folder=STORED, parent_sha256=record.parent_sha256, settings=settings)


def test_a_key_that_an_older_record_lacks_has_its_default() -> None:
    pipeline = parse_pipeline(recipe("finetune"), where="r.toml")
    stage, record = pipeline.stages[0], read_json(StageRecord, STORED / "finetune.json")
    settings = resolved(stage, data=pipeline.data, size=(64, 96))
    del record.settings["optimizer.clip"]
    check_same(record, stage, folder=STORED, parent_sha256=record.parent_sha256, settings=settings)
    changed = {**settings, "optimizer.clip": 2.0}
    with pytest.raises(InputError, match=r"was made with optimizer\.clip = 0\.0; the recipe now says 2\.0"):
        check_same(record, stage, folder=STORED, parent_sha256=record.parent_sha256, settings=changed)


def test_a_record_names_files_without_their_folders(tmp_path: Path) -> None:
    classes = open_dataset("streets:4", split="train").classes
    teachers = [str(small_teacher(tmp_path / name / "net", classes=classes)) for name in ("a", "b")]
    table = {**recipe("distill"), "stages": [{"kind": "distill", "teachers": teachers}]}
    pipeline = parse_pipeline(table, where="r.toml")
    stage = pipeline.stages[0]
    settings = resolved(stage, data=pipeline.data, size=(64, 96))
    assert not [text for pair in settings.items() for text in pair if str(tmp_path) in str(text)]
    assert {"teacher net", "teacher net (2)"} <= set(settings)
    # Records from before name the teachers by their whole paths.
    stored = {key: value for key, value in settings.items() if not key.startswith("teacher ")}
    stored |= {f"teacher {name}": value for name, value in zip(teachers, stage.inputs().values(), strict=True)}
    record = StageRecord(schema=1, kind="distill", parent_sha256="", settings=stored)
    check_same(record, stage, folder=tmp_path, parent_sha256="", settings=settings)


def test_a_run_of_an_earlier_version_resumes_without_running_its_stages_again(tmp_path: Path) -> None:
    classes = open_dataset("streets:4", split="train").classes
    start = small_teacher(tmp_path / "start", classes=classes, name="fast_scnn")
    pipeline = parse_pipeline(recipe("prune", "equalize", model=str(start)), where="r.toml")
    out = tmp_path / "run"
    run_pipeline(pipeline, out=out)
    for folder in ("01-prune", "02-equalize"):
        path = out / folder / RECORD_FILE
        today = json.loads(path.read_text(encoding="utf-8"))
        stored = json.loads((STORED / f"{folder[3:]}.json").read_text(encoding="utf-8"))
        hashes = {key: today[key] for key in ("parent_sha256", "weights_sha256")}
        path.write_text(json.dumps({**stored, **hashes}), encoding="utf-8")
    written = {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}
    result = run_pipeline(pipeline, out=out, resume=True)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")} == written
    assert [item.seconds for item in result.stages[1:]] == [
        json.loads((STORED / f"{kind}.json").read_text("utf-8"))["metrics"]["seconds"] for kind in ("prune", "equalize")
    ]


def test_other_calibration_settings_are_followed_however_often_the_run_stopped_before_them(tmp_path: Path) -> None:
    start = small_teacher(tmp_path / "start", classes=open_dataset("streets:4", split="train").classes)
    stage = {"kind": "half_weights"}
    given = {**recipe(model=str(start)), "calibration": {"count": 2}, "stages": [stage, stage]}
    ranges = tmp_path / "run" / "checkpoint" / "ranges.json"

    def go(count: int, **options: object) -> int:
        pipeline = parse_pipeline({**given, "calibration": {"count": count}}, where="r.toml")
        run_pipeline(pipeline, out=tmp_path / "run", **options)  # type: ignore[arg-type]
        return len(read_ranges(ranges).calibration.item_ids)

    assert go(2) == 2
    assert go(3, only="1") == 2  # it ends before the calibration
    assert go(3, resume=True) == 3
    before = ranges.stat().st_mtime_ns
    assert go(3, resume=True) == 3
    assert ranges.stat().st_mtime_ns == before
