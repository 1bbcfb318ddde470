"""The wheels that a device needs: edgeseg's own, and those of its libraries for that device's Python, libc and CPU."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import re
import subprocess
import sys
import zipfile
from importlib import metadata, util
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.errors import DeviceError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edgeseg.devices.facts import DeviceFacts

ENGINE_EXTRAS = {"litert": "tflite", "onnxruntime": "onnx", "openvino": "openvino"}
"""The extra of each engine that a device can be given."""
_PACKAGES = ("edgeseg", "edgeseg.converters", "edgeseg.calibration", "edgeseg.targets")
_LEFT_OUT = re.compile(r"(^|/)__pycache__/|\.pyc$|^edgeseg/models/bundled/|^edgeseg/models/.*\.safetensors$")
"""Weights for training and conversion, 27 MB, are of no use on a device."""
_OLDEST_GLIBC = {"x86_64": 5, "aarch64": 17, "armv7l": 17}
_FIRST_WITH_TOMLLIB = (3, 11)
_TIMEOUT_S = 1800.0


def platform_tags(facts: DeviceFacts) -> tuple[str, ...]:
    """Return the platform tags of wheels that run on a device, newest first.

    Raises:
        DeviceError: a system, C library or CPU without prebuilt wheels.
    """
    oldest = _OLDEST_GLIBC.get(facts.machine)
    if facts.system != "Linux" or oldest is None:
        known = ", ".join(_OLDEST_GLIBC)
        raise DeviceError(f"{facts.system} on {facts.machine} has no wheels of the engines; Linux on {known} has.")
    if facts.libc != "glibc":
        raise DeviceError("This system's C library is not glibc (Alpine, for instance); the engines have no wheels.")
    major, _, minor = facts.libc_version.partition(".")
    if major != "2" or not minor.isdigit():
        raise DeviceError(f"glibc {facts.libc_version} is not a version that wheels name.")
    tags = [f"manylinux_2_{number}_{facts.machine}" for number in range(int(minor), oldest - 1, -1)]
    legacy = ["manylinux2014", *(["manylinux2010", "manylinux1"] if facts.machine == "x86_64" else [])]
    return (*tags, *(f"{name}_{facts.machine}" for name in legacy), f"linux_{facts.machine}")


def collect_wheels(facts: DeviceFacts, folder: Path, *, engines: Sequence[str], source: Path | None = None) -> str:
    """Write the wheels that a device needs into `folder` and return what to install: edgeseg with the engines' extras.

    pip downloads them here, so the device needs no network; with `source`, a folder of wheels, neither does this desk.

    Raises:
        DeviceError: a wheel that does not exist for this Python, libc and CPU; pip's own message is in it.
        InputError: an engine without an extra.
    """
    extras = [_extra(engine) for engine in engines]
    own = write_own_wheel(folder)
    requirement = f"edgeseg[{','.join(('opencv', *extras))}]"
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input",
        "--only-binary=:all:", "--dest", str(folder), "--implementation", "cp", "--python-version", facts.python_short,
        *(word for tag in platform_tags(facts) for word in ("--platform", tag)),
        f"{own}[{','.join(('opencv', *extras))}]", "pip",
    ]  # fmt: skip
    if facts.python_tuple < _FIRST_WITH_TOMLLIB:
        command.append("tomli>=2")  # pip judges markers by this desk's Python
    if source is not None:
        if not source.is_dir():
            raise InputError(f"{source}: no such folder of wheels.")
        command += ["--no-index", "--find-links", str(source)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise DeviceError(f"pip did not finish downloading within {_TIMEOUT_S / 60:.0f} minutes. Try again.") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")] or done.stderr.splitlines()
        said = " ".join(line.removeprefix("ERROR: ") for line in lines[:1]) or "no message"
        raise DeviceError(
            f"no set of wheels for Python {facts.python_short}, glibc {facts.libc_version} and {facts.machine}: "
            f"{said[:300]}"
        )
    return requirement


def folder_hash(folder: Path) -> str:
    """Return a hash of the names and contents of a folder's files."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def write_own_wheel(folder: Path) -> Path:
    """Return edgeseg's own wheel, packed from the installed package: a device gets exactly the code that runs here.

    The same package gives the same bytes, so that it is sent once.
    """
    found = metadata.distribution("edgeseg")
    version = found.version
    path = folder / f"edgeseg-{version}-py3-none-any.whl"
    info = f"edgeseg-{version}.dist-info"
    rows: list[tuple[str, str, str]] = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:

        def add(name: str, content: bytes) -> None:
            entry = zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            rows.append((name, f"sha256={digest}", str(len(content))))

        for name, file in _package_files():
            add(name, file.read_bytes())
        for name in ("METADATA", "entry_points.txt"):
            add(f"{info}/{name}", (found.read_text(name) or "").encode())
        add(f"{info}/WHEEL", b"Wheel-Version: 1.0\nGenerator: edgeseg\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        record = io.StringIO()
        csv.writer(record, lineterminator="\n").writerows([*rows, (f"{info}/RECORD", "", "")])
        add(f"{info}/RECORD", record.getvalue().encode())
    return path


def _package_files() -> Iterator[tuple[str, Path]]:
    seen: dict[str, Path] = {}
    for package in _PACKAGES:
        spec = util.find_spec(package)
        for root in (spec.submodule_search_locations or ()) if spec else ():
            prefix = package.replace(".", "/")
            for path in _walk(Path(root)):
                name = f"{prefix}/{path.relative_to(root).as_posix()}"
                if not _LEFT_OUT.search(name):
                    seen.setdefault(name, path)
    yield from sorted(seen.items())


def _walk(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            yield from _walk(path)
        elif path.is_file():
            yield path


def _extra(engine: str) -> str:
    if engine not in ENGINE_EXTRAS:
        from edgeseg.core.suggestions import unknown

        raise unknown("engine for a device", engine, ENGINE_EXTRAS)
    return ENGINE_EXTRAS[engine]
