"""The end of a pipeline: what the result folder holds."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from contracts.deployable import deployable, ranges

from edgeseg.compress.pipeline.finalize import finish
from edgeseg.models.checkpoint import PROOF_FOLDER, save_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    from edgeseg.compress.pipeline.checks import Start
    from edgeseg.compress.pipeline.schema import PipelineRecipe


@pytest.mark.parametrize(("holders", "kept"), [(("last", "start"), "last"), (("start",), "start"), ((), None)])
def test_proof_images_go_along_from_the_last_stage_or_the_start(
    tmp_path: Path, holders: tuple[str, ...], kept: str | None
) -> None:
    checkpoint = deployable()
    save_checkpoint(tmp_path / "last", net=checkpoint.net, spec=checkpoint.spec, ranges=ranges(checkpoint))
    for name in holders:
        (tmp_path / name / PROOF_FOLDER).mkdir(parents=True)
        (tmp_path / name / PROOF_FOLDER / "1.png").write_text(name)
        (tmp_path / name / PROOF_FOLDER / "LICENSE.txt").write_text("CC0-1.0")
    start = cast("Start", SimpleNamespace(folder=tmp_path / "start"))
    out = tmp_path / "out"
    said = finish(cast("PipelineRecipe", None), last=tmp_path / "last", start=start, out=out, keep=False, on_event=None)
    assert "4 images of streets:4" in said
    assert (out / "weights.safetensors").is_file()
    if kept is None:
        assert not (out / PROOF_FOLDER).exists()
    else:
        assert (out / PROOF_FOLDER / "1.png").read_text() == kept
        assert (out / PROOF_FOLDER / "LICENSE.txt").is_file()
