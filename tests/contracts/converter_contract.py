"""What every converter promises; a format's test is a subclass of two lines."""

from __future__ import annotations

import atexit
import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from contracts.deployable import images, trained_folder

from edgeseg.core.artifact import Artifact, Lineage, list_files
from edgeseg.core.backend import ResolvedBackend
from edgeseg.core.files import read_json
from edgeseg.core.protocols import Converter
from edgeseg.core.quantization import SCHEMES, Precision, Ranges
from edgeseg.deploy.manifest import draft
from edgeseg.deploy.plan import PlannedArtifact, converter_for
from edgeseg.deploy.prove import open_for_proof
from edgeseg.errors import MissingDependency
from edgeseg.export import export
from edgeseg.metrics.agreement import LogitAgreement
from edgeseg.models.checkpoint import Checkpoint, load_checkpoint
from edgeseg.pixels import decode, real_logits

if TYPE_CHECKING:
    from edgeseg.core.exported import Conversion, ExportedModel

# In dB against the program that was converted: what the formats' own kernels may differ by.
LEAST_SQNR_DB = {"fp32": 80.0, "fp16": 25.0, "int8": 18.0}
SIZE = (128, 160)

LINEAGE = Lineage(checkpoint="small", weights_sha256="0" * 64)


@cache
def checkpoint() -> Checkpoint:
    """Return a small trained net: rounding grows without bound in one that is not."""
    return load_checkpoint(trained_folder(), size=SIZE)


@cache
def exported(precision: Precision) -> ExportedModel:
    """Return the small net's graph, exported once for all formats that are tested in one process."""
    if precision == "fp16":
        return exported("fp32").as_scheme(SCHEMES["fp16"], folder=_folder() / "fp16")
    observed = read_json(Ranges, checkpoint().folder / "ranges.json") if precision == "int8" else None
    return export(checkpoint(), precision=precision, ranges=observed, folder=_folder())


def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="edgeseg-test-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


class ConverterContract:
    """`format` names the converter, `library` a module that it cannot do without."""

    format: str
    library: str
    deterministic = True

    @pytest.fixture
    def converter(self) -> Converter:
        return converter_for(self.format)

    def test_it_is_a_converter_and_checks_without_importing_its_library(self, converter: Converter) -> None:
        assert isinstance(converter, Converter)
        assert converter.format == self.format
        assert converter.title
        assert converter.suffix.startswith(".")
        converter.check()

    def test_a_missing_library_is_answered_with_the_extra(
        self, converter: Converter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, self.library, None)
        with pytest.raises(MissingDependency, match=rf"{self.library}.*edgeseg\[{converter.extra}\]"):
            converter.check()

    @pytest.mark.parametrize("precision", ["fp32", "int8", pytest.param("fp16", marks=pytest.mark.slow)])
    def test_the_engine_answers_as_the_program_does(
        self, converter: Converter, precision: Precision, tmp_path: Path
    ) -> None:
        if precision not in converter.precisions:
            pytest.skip(f"{self.format} has no {precision}")
        model = exported(precision)
        conversion = converter.convert(model, folder=tmp_path)
        assert conversion.scheme.name == precision
        assert (tmp_path / conversion.entry).exists()
        assert conversion.entry.endswith(converter.suffix)
        assert conversion.provable_by == converter.engines
        assert conversion.preprocess == model.preprocess
        self._check_report(conversion, precision)
        self._check_answers(model, conversion, precision, tmp_path)

    def test_the_same_program_gives_the_same_bytes(self, converter: Converter, tmp_path: Path) -> None:
        if not self.deterministic:
            pytest.skip("the vendor's writer numbers or names things anew each time")
        model = exported("fp32")
        files = []
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            converter.convert(model, folder=tmp_path / name)
            files.append([(file.path, file.sha256) for file in list_files(tmp_path / name)])
        assert files[0] == files[1]

    @staticmethod
    def _check_report(conversion: Conversion, precision: Precision) -> None:
        report = conversion.report
        assert len(conversion.ops) == report.ops_total
        assert all(item.op and item.node and item.unit for item in conversion.ops)
        assert report.ops_total > 20
        assert report.tool_versions
        assert report.seconds > 0
        assert all(item.op and item.reason for item in report.fallbacks)
        if precision == "int8":
            # A third in so short a net: ONNX Runtime keeps the pyramid pooling and every resize in float.
            assert report.ops_quantized > report.ops_total / 3
        else:
            assert report.ops_quantized == 0

    def _check_answers(self, model: ExportedModel, conversion: Conversion, precision: Precision, folder: Path) -> None:
        item = PlannedArtifact(
            target=self.format,
            format=self.format,
            backend=ResolvedBackend(engine=converter_for(self.format).engines[0]),
            precision=precision,
            path=folder,
            reason="test",
        )
        manifest = draft(item, conversion, spec=model.spec, lineage=LINEAGE, calibration=None)
        program = model.folded_program().module()
        with open_for_proof(Artifact(folder=folder, manifest=manifest)) as session:
            for pixels in images(model.spec, first=50, count=2):
                given = session.infer(session.preprocess(np.ascontiguousarray(pixels[0, ..., ::-1])))
                with torch.no_grad():
                    wanted = program(torch.from_numpy(pixels)).numpy()
                assert given.shape == conversion.output.shape
                met = LogitAgreement()
                found = met.update(real_logits(given, conversion.output)[0], wanted[0])
                assert found > LEAST_SQNR_DB[precision], found
                size = model.spec.size
                mine = session.decode(given, size=size)
                theirs = decode(
                    wanted, tensor=model.output, preprocess=model.spec.preprocess, input_size=size, size=size
                )
                assert np.mean(mine == theirs) > (0.95 if precision == "int8" else 0.99)
