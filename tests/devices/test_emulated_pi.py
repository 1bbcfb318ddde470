"""An emulated Raspberry Pi, end to end over ssh: add, install, verify, run, validate, bench, compare.

Left out by default (`scripts/emulated-pi` runs it): it downloads 250 MB and takes minutes. It is skipped with the
reason where qemu, Debian's arm64 packages, the arm64 wheels or the namespaces are unavailable.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from devices.arm_machine import ArmMachine, Unavailable, check_here, start_machine, unpack_machine, write_sdot_program

from edgeseg.bench import read_measurements
from edgeseg.core.receipt import read_receipts
from edgeseg.devices.known import KnownDevice, find_device
from edgeseg.devices.ssh import connect
from edgeseg.errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Iterator

asyncssh = pytest.importorskip("asyncssh", reason="remote devices need asyncssh: pip install edgeseg[devices]")

pytestmark = pytest.mark.emulated

SIZE = "64x96"
LONGEST_S = 600
ILLEGAL_INSTRUCTION = 128 + signal.SIGILL
TOO_SLOW = "no answer within"


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A desk with `pi4` and `pi5`, one machine with two CPUs, and an int8 artifact; edgeseg is installed there."""

    folder: Path
    artifact: Path
    root: Path
    installed: dict[str, Any]

    def edgeseg(self, *arguments: object) -> dict[str, Any]:
        """Return the JSON that a verb prints; fails with its error."""
        return run(self.folder, *arguments)


@pytest.fixture(scope="module")
def desk() -> Iterator[Bench]:
    folder = Path(tempfile.mkdtemp(prefix="edgeseg-emulated-"))
    machines: list[ArmMachine] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGESEG_DEVICES", str(folder / "devices"))
        try:
            yield make_desk(folder, machines)
        except Unavailable as reason:
            pytest.skip(f"no emulated Raspberry Pi: {reason}")
        finally:
            for machine in machines:
                machine.stop()
            shutil.rmtree(folder, ignore_errors=True)


def make_desk(folder: Path, machines: list[ArmMachine]) -> Bench:
    check_here()
    client, host = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    client.write_private_key(str(folder / "id"))
    root, qemu = unpack_machine(
        folder / "machine", key=client.export_public_key().decode(), host_key=host.export_private_key().decode()
    )
    for name, cpu in (("pi4", "cortex-a72"), ("pi5", "cortex-a76")):
        machines.append(start_machine(root, qemu=qemu, cpu=cpu))
        run(folder, "device", "add", name, machines[-1].address, "--key", folder / "id", "--fingerprint",
            host.get_fingerprint())  # fmt: skip
    artifact = folder / "artifact"
    given = os.environ.get("EDGESEG_TEST_ARTIFACT")
    if given:
        shutil.copytree(given, artifact, ignore=shutil.ignore_patterns("receipts"))
    else:
        run(folder, "convert", "fast_scnn:streets-half", "--target", "tflite", "--precision", "int8", "--size", SIZE,
            "--out", artifact)  # fmt: skip
    installed = run(folder, "device", "install", "pi4", "--verify", artifact, skip_on="no set of wheels")
    return Bench(folder=folder, artifact=artifact, root=root, installed=installed)


def run(folder: Path, *arguments: object, skip_on: str = "") -> dict[str, Any]:
    """Return the JSON that `edgeseg ARGUMENTS --json` prints; raises `Unavailable` for an error with `skip_on`."""
    command = [sys.executable, "-m", "edgeseg", *(str(word) for word in arguments), "--json"]
    # No retries for an index that cannot be reached. Not from the checkout's root: Python would take its sources.
    environment = {**os.environ, "PIP_RETRIES": "1", "PIP_TIMEOUT": "15", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=LONGEST_S, check=False,
    )  # fmt: skip
    if done.returncode and skip_on and skip_on in done.stderr:
        raise Unavailable(done.stderr.strip().splitlines()[-1])
    if TOO_SLOW in done.stderr:
        pytest.skip("the emulated Raspberry Pi is too slow on this machine to answer in time")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_the_cpu_is_that_of_the_board(desk: Bench) -> None:
    """A program with an instruction that a Raspberry Pi 4 lacks dies there, and runs on a Raspberry Pi 5."""
    write_sdot_program(desk.root / "home/pi/sdot")

    async def statuses() -> list[int]:
        found = []
        for name in ("pi4", "pi5"):
            device = find_device(name)
            assert isinstance(device, KnownDevice)
            async with connect(device) as remote:
                found.append((await remote.run(["/home/pi/sdot"])).status)
        return found

    try:
        assert asyncio.run(statuses()) == [ILLEGAL_INSTRUCTION, 0]
    except DeviceError as error:
        if TOO_SLOW not in str(error):
            raise
        pytest.skip(f"the emulated Raspberry Pi is too slow on this machine: {error}")


def test_it_is_installed_from_arm64_wheels_and_verified(desk: Bench) -> None:
    assert desk.installed["engines"] == ["litert"]
    assert desk.installed["agreement"] == 1.0
    facts = desk.edgeseg("device", "probe", "pi4")
    assert (facts["machine"], facts["libc"], facts["edgeseg"]) == ("aarch64", "glibc", desk.installed["edgeseg"])


def test_int8_labels_are_bit_exact_on_both_cpus(desk: Bench) -> None:
    """The golden labels are those of x86; agreement 1.0 means every one of them."""
    found = desk.edgeseg("verify", desk.artifact, "--device", "pi4", "--device", "pi5")
    assert [item["result"]["agreement"] for item in found["devices"]] == [1.0, 1.0]
    sha256 = json.loads((desk.artifact / "manifest.json").read_text(encoding="utf-8"))["self_sha256"]
    assert {receipt.device for receipt in read_receipts(desk.artifact, artifact_sha256=sha256)} == {"pi4", "pi5"}


def test_labels_of_an_image_equal_those_of_x86(desk: Bench) -> None:
    """With resizing, the net and decoding. The image comes from a file: rendered streets differ by a level or two."""
    import cv2

    image = write_streets(desk.folder / "data")
    shutil.copy(image, desk.root / "home/pi/street.png")
    words = ("run", desk.artifact, "--frames", "1", "--threads", "1", "--headless", "--save-labels")
    desk.edgeseg(*words, desk.folder / "here", "--source", image)
    desk.edgeseg(*words, desk.folder / "there", "--source", "/home/pi/street.png", "--device", "pi5")
    (here,), (there,) = (list((desk.folder / side).glob("*.png")) for side in ("here", "there"))
    np.testing.assert_array_equal(cv2.imread(str(here), -1), cv2.imread(str(there), -1))


def test_accuracy_is_that_of_x86(desk: Bench) -> None:
    data = desk.folder / "data"
    write_streets(data)
    words = ("validate", desk.artifact, "--data", data, "--threads", "1")
    here = desk.edgeseg(*words)
    there = desk.edgeseg(*words, "--device", "pi4")["devices"][0]["result"]
    for name in ("miou", "pixel_accuracy", "per_class_iou"):
        assert there[name] == here[name], name


def write_streets(folder: Path) -> Path:
    """Write a data set of two rendered streets and return its first image."""
    import cv2

    from edgeseg.data import render_street
    from edgeseg.data.streets import CLASSES

    for kind in ("images", "labels"):
        (folder / kind / "val").mkdir(parents=True, exist_ok=True)
    (folder / "classes.txt").write_text("\n".join(CLASSES), encoding="utf-8")
    for number in range(2):
        image, labels = render_street(number)
        cv2.imwrite(str(folder / f"images/val/{number}.png"), image[..., ::-1])
        cv2.imwrite(str(folder / f"labels/val/{number}.png"), labels)
    return folder / "images/val/0.png"


def test_its_times_are_marked_and_never_compared(desk: Bench) -> None:
    out = desk.folder / "results"
    words = ("bench", desk.artifact, "--runs", "2", "--warmup", "1", "--threads", "1", "--out", out)
    desk.edgeseg(*words, "--device", "pi4")
    (record,) = read_measurements([out])
    assert record.device.emulated
    assert (record.device.name, record.device.arch, record.device.cpu) == ("pi4", "aarch64", "Arm Cortex-A72")
    assert (record.delegate, record.engine) == ("xnnpack", "litert")
    alone = desk.edgeseg("compare", out)
    assert "emulated" in " ".join(alone["warnings"])
    assert [row["p50_ms"] for row in alone["rows"]] == [None]
    desk.edgeseg(*words)
    refused = subprocess.run(
        [sys.executable, "-m", "edgeseg", "compare", str(out)], cwd=desk.folder, capture_output=True, text=True,
        timeout=LONGEST_S, check=False,
    )  # fmt: skip
    assert refused.returncode == 1
    assert "emulated" in refused.stderr
