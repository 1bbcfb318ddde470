"""What this machine can convert, run and show, what it cannot, and how to fix that."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from importlib import metadata, util
from typing import Literal

from edgeseg import __version__
from edgeseg.core import registry
from edgeseg.core.protocols import Converter, Engine
from edgeseg.errors import EdgesegError

FindingArea = Literal["base", "convert", "run", "train", "show"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that this machine can or cannot do; `fix` is the command or step that changes it."""

    area: FindingArea
    name: str
    works: bool
    detail: str
    fix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """All findings on one machine."""

    edgeseg: str
    python: str
    machine: str
    findings: tuple[Finding, ...]

    @property
    def can_run(self) -> bool:
        """Whether the base and at least one engine work."""
        base = all(finding.works for finding in self.findings if finding.area == "base")
        return base and any(finding.works for finding in self.findings if finding.area == "run")


def diagnose() -> Diagnosis:
    """Return what works here; never raises for a library that is missing or broken."""
    findings = [*_base(), *_converters(), *_engines(), *_training(), *_window()]
    return Diagnosis(
        edgeseg=__version__,
        python=platform.python_version(),
        machine=f"{platform.system()} {platform.machine()}",
        findings=tuple(findings),
    )


def _base() -> list[Finding]:
    return [
        _library("base", "numpy", module="numpy", fix="pip install numpy"),
        _library("base", "OpenCV", module="cv2", fix='pip install "edgeseg[opencv]"'),
    ]


def _converters() -> list[Finding]:
    return [_converter(plugin) for plugin in registry.load_all("converters")]


def _converter(plugin: registry.Plugin) -> Finding:
    converter = plugin.value
    if not isinstance(converter, Converter):
        return Finding(area="convert", name=plugin.name, works=False, detail=plugin.fault or "is not a converter")
    try:
        converter.check()
    except EdgesegError as error:
        # A converter whose tool is a toolchain names the command that installs that.
        command = str(error).rpartition(": ")[2]
        fix = command if command.startswith("edgeseg ") else f'pip install "edgeseg[{converter.extra}]"'
        return Finding(area="convert", name=plugin.name, works=False, detail=str(error), fix=fix)
    return Finding(area="convert", name=plugin.name, works=True, detail=", ".join(converter.precisions))


def _engines() -> list[Finding]:
    return [_engine(plugin) for plugin in registry.load_all("engines")]


def _engine(plugin: registry.Plugin) -> Finding:
    engine = plugin.value
    if not isinstance(engine, Engine):
        return Finding(area="run", name=plugin.name, works=False, detail=plugin.fault or "is not an engine")
    status = engine.status()
    formats = ", ".join(engine.formats)
    if not status.available:
        return Finding(area="run", name=engine.name, works=False, detail=status.reason, fix=status.fix)
    return Finding(area="run", name=engine.name, works=True, detail=f"{status.version}, runs {formats}")


def _training() -> list[Finding]:
    fix = 'pip install "edgeseg[train]"'
    findings = [
        _library("train", "PyTorch", module="torch", fix=fix),
        _installed("train", "Lightning Fabric", distribution="lightning-fabric", fix=fix),
    ]
    if findings[0].works:
        import torch

        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        detail = torch.cuda.get_device_name(0) if count else "none; training runs on the CPU"
        findings.append(Finding(area="train", name="GPU", works=bool(count), detail=detail))
    return findings


def _window() -> list[Finding]:
    if not _library("run", "OpenCV", module="cv2", fix="").works:
        return []
    from edgeseg.runtime import window_fault

    fault = window_fault()
    if fault is None:
        return [Finding(area="show", name="window", works=True, detail="edgeseg run opens one")]
    return [Finding(area="show", name="window", works=False, detail=fault.reason, fix=fault.fix)]


def _installed(area: FindingArea, name: str, *, distribution: str, fix: str) -> Finding:
    """Return whether a library is installed, without importing it: this one takes longer than all others together."""
    try:
        version = metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return Finding(area=area, name=name, works=False, detail="not installed", fix=fix)
    return Finding(area=area, name=name, works=True, detail=version)


def _library(area: FindingArea, name: str, *, module: str, fix: str) -> Finding:
    if module not in sys.modules and util.find_spec(module) is None:
        return Finding(area=area, name=name, works=False, detail="not installed", fix=fix)
    try:
        found = __import__(module)
    except Exception as error:  # noqa: BLE001 - a broken library raises anything: that is the finding
        return Finding(area=area, name=name, works=False, detail=f"installed, but does not import: {error}", fix=fix)
    version = str(getattr(found, "__version__", "") or metadata.version(module))
    return Finding(area=area, name=name, works=True, detail=version)
