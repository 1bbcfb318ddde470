"""The device side on each Python that it supports: install, verify, validate, run and bench over ssh.

Left out by default, because it downloads wheels: `pytest -m emulated tests/devices/test_python_versions.py`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

asyncssh = pytest.importorskip("asyncssh", reason="remote devices need asyncssh: pip install edgeseg[devices]")

from contracts import tiny_artifact as tiny  # noqa: E402
from devices.arm_machine import Unavailable  # noqa: E402
from devices.ssh_device import SshDevice  # noqa: E402
from devices.test_emulated_pi import run  # noqa: E402

from edgeseg.bench import read_measurements  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.emulated


def interpreter(version: str) -> str | None:
    """Return a Python of this version that runs: from the PATH, or one of pyenv's; None if there is none."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = shutil.which(f"python{version}")
    for path in (*([found] if found else []), *sorted(versions.glob(f"{version}.*/bin/python"), reverse=True)):
        asked = [str(path), "-c", "import sys, venv; print(sys.executable)"]
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
        if not done.returncode:
            return done.stdout.strip()
    return None


@pytest.fixture(params=["3.10", "3.12", "3.13"])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, str]]:
    """Yield a folder with the device `box` in its list of devices, and the Python that it has."""
    version = str(request.param)
    python = interpreter(version)
    if python is None:
        pytest.skip(f"there is no Python {version} here, on the PATH or from pyenv")
    folder = Path(tempfile.mkdtemp(prefix="edgeseg-python-"))
    monkeypatch.setenv("EDGESEG_DEVICES", str(folder / "devices"))
    client = asyncssh.generate_private_key("ssh-ed25519")
    client.write_private_key(str(folder / "id"))
    server = SshDevice(home=folder / "home", client_key=client)
    try:
        words = ("device", "add", "box", server.address, "--key", folder / "id", "--fingerprint", server.fingerprint)
        run(folder, *words, "--python", python)
        yield folder, version
    finally:
        server.close()
        shutil.rmtree(folder, ignore_errors=True)


def write_images(folder: Path) -> None:
    """Write a data set of two images with the tiny artifact's classes."""
    import cv2

    for kind in ("images", "labels"):
        (folder / kind / "val").mkdir(parents=True)
    (folder / "classes.txt").write_text("\n".join(tiny.CLASSES), encoding="utf-8")
    for number in range(2):
        image = tiny.image(seed=number)
        cv2.imwrite(str(folder / f"images/val/{number}.png"), image)
        cv2.imwrite(str(folder / f"labels/val/{number}.png"), image[..., 0] // 64)


def test_every_verb_of_a_device_works_on_this_python(device: tuple[Path, str]) -> None:
    folder, version = device
    tiny.make_artifact(folder / "onnx", file_format="onnx")
    try:
        installed = run(folder, "device", "install", "box", "--verify", folder / "onnx", skip_on="no set of wheels")
    except Unavailable as reason:
        pytest.skip(str(reason))
    assert installed["agreement"] == 1.0
    assert run(folder, "device", "probe", "box")["python"].startswith(f"{version}.")
    assert run(folder, "verify", folder / "onnx", "--device", "box")["devices"][0]["result"]["agreement"] == 1.0
    write_images(folder / "data")
    scores = run(folder, "validate", folder / "onnx", "--data", folder / "data", "--device", "box", "--threads", "1")
    assert 0 <= scores["devices"][0]["result"]["miou"] <= 1
    words = ("run", folder / "onnx", "--frames", "3", "--threads", "1", "--headless", "--device", "box")
    assert run(folder, *words)["devices"][0]["result"]["frames"] == 3
    run(folder, "bench", folder / "onnx", "--runs", "20", "--threads", "1", "--out", folder / "out", "--device", "box")
    (record,) = read_measurements([folder / "out"])
    assert (record.device.name, record.engine, record.latency[0].runs) == ("box", "onnxruntime", 20)
