"""Devices over ssh, end to end against asyncssh's own server: add, install, use, faults."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from contracts.tiny_artifact import make_artifact

asyncssh = pytest.importorskip("asyncssh", reason="remote devices need asyncssh: pip install edgeseg[devices]")

from devices.ssh_device import SshDevice, make_wheelhouse  # noqa: E402

from edgeseg.bench import read_measurements  # noqa: E402
from edgeseg.cli.main import main  # noqa: E402
from edgeseg.core.receipt import read_receipts  # noqa: E402
from edgeseg.devices.facts import DeviceFacts, check_python  # noqa: E402
from edgeseg.devices.known import DeviceAddress, KnownDevice, find_device, parse_address  # noqa: E402
from edgeseg.devices.ssh import Finished, Remote, connect  # noqa: E402
from edgeseg.devices.wheels import collect_wheels, platform_tags, write_own_wheel  # noqa: E402
from edgeseg.errors import DeviceError, InputError, UnknownName  # noqa: E402
from edgeseg.verbs.device import add_device  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

FACTS = DeviceFacts(
    python="3.11.2", implementation="CPython", machine="aarch64", system="Linux", libc="glibc", libc_version="2.36",
    os="Debian 12", model="Raspberry Pi 5", cores=4, memory_mb=8000, disk_free_mb=20_000, home="/home/pi/.edgeseg",
    edgeseg="",
)  # fmt: skip

ENDLESS_PUSH = """
import asyncio, sys, time
from pathlib import Path
from edgeseg.devices import ssh
from edgeseg.devices.known import find_device
whole = ssh._tar_chunks
def half(entries):
    yield from whole(entries[:2])
    print("half", flush=True)
    time.sleep(600)
async def push():
    async with ssh.connect(find_device(sys.argv[1])) as remote:
        await remote.push(Path(sys.argv[2]), "artifacts/1")
ssh._tar_chunks = half
asyncio.run(push())
"""
"""Sends the beginning of an archive, says so, and waits to be killed."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Desk:
    """A desk with one installed device `kitchen`, an artifact, and the wheels that the registry would serve."""

    device: SshDevice
    key: Path
    artifact: Path
    wheels: Path
    folder: Path


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("desk")
    client = asyncssh.generate_private_key("ssh-ed25519")
    key = folder / "id_ed25519"
    client.write_private_key(str(key))
    make_artifact(folder / "tiny", file_format="onnx")
    device = SshDevice(home=folder / "home", client_key=client)
    found = Desk(
        device=device, key=key, artifact=folder / "tiny", wheels=make_wheelhouse(folder / "wheels"), folder=folder
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGESEG_DEVICES", str(folder / "devices"))
        add(found)
        assert run("device", "install", "kitchen", "--verify", str(found.artifact), "--wheels", str(found.wheels)) == 0
        yield found
    device.close()


def run(*arguments: str) -> int:
    return main([str(word) for word in arguments])


def add(desk: Desk, name: str = "kitchen", *, device: SshDevice | None = None) -> None:
    device = device or desk.device
    assert run("device", "add", name, device.address, "--key", desk.key, "--fingerprint", device.fingerprint) == 0


def errors(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("edgeseg: ")]


def test_a_device_is_installed_without_a_network_and_verified_there(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert run("device", "probe", "kitchen", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["edgeseg"]
    assert facts["home"] == str(desk.device.home / ".edgeseg")
    assert run("device", "run", "kitchen", "cameras", "--json") == 0
    assert "kinds" in json.loads(capsys.readouterr().out)
    left = {path.name for path in (desk.device.home / ".edgeseg").iterdir()}
    assert left <= {"env", "envs", "artifacts", "wheels", "out"}
    assert list((desk.device.home / ".edgeseg" / "wheels").iterdir()) == []


def test_bench_brings_each_record_home_and_a_device_that_is_gone_loses_only_its_own(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = SshDevice(home=desk.folder / "gone", client_key=desk.device.client_key)
    add(desk, "gone", device=gone)
    gone.close()
    out = desk.folder / "results"
    capsys.readouterr()
    devices = ("--device", "gone", "--device", "kitchen")
    assert run("bench", desk.artifact, *devices, "--runs", "5", "--warmup", "1", "--out", out) == 1
    printed = capsys.readouterr()
    assert "tiny-onnx: onnxruntime" in printed.out
    (line,) = [line for line in printed.err.splitlines() if line.startswith("edgeseg: ")]
    assert f"gone: pi@127.0.0.1:{gone.port} cannot be reached" in line
    (record,) = read_measurements([out])
    assert (record.device.name, record.engine, record.latency[0].runs) == ("kitchen", "onnxruntime", 5)
    # Sent once, at the installation: the artifact's hash names it there.
    pushed = list((desk.device.home / ".edgeseg" / "artifacts").iterdir())
    assert [path.name for path in pushed] == [record.artifact_sha256]


def test_verify_on_a_device_brings_its_receipt_home(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("verify", desk.artifact, "--device", "kitchen") == 0
    assert "kitchen: 100.00 % of the golden labels agree. Receipt: " in capsys.readouterr().out
    sha256 = json.loads((desk.artifact / "manifest.json").read_text(encoding="utf-8"))["self_sha256"]
    (receipt,) = read_receipts(desk.artifact, artifact_sha256=sha256)
    assert (receipt.device, receipt.agreement) == ("kitchen", 1.0)


@pytest.mark.slow
def test_run_on_a_device_brings_its_outputs_home(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    labels = desk.folder / "labels"
    command = ("run", desk.artifact, "--device", "kitchen", "--frames", "3", "--threads", "1", "--save-labels", labels)
    assert run(*command) == 0
    result = json.loads(capsys.readouterr().out)["devices"][0]["result"]
    assert result["frames"] == 3
    assert len(list(labels.glob("*.png"))) == 3
    assert run(*command) == 1
    assert "exists already" in errors(capsys)[0]


def test_each_fault_of_a_connection_is_one_clear_line(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    first = SshDevice(home=desk.folder / "other", client_key=desk.device.client_key, before="PATH=/nowhere;")
    add(desk, "bare", device=first)
    capsys.readouterr()
    assert run("device", "probe", "bare") == 1
    assert "bare: there is no python3 on it. Install Python 3.10 to 3.13" in errors(capsys)[0]
    assert run("bench", desk.artifact, "--device", "bare") == 1
    assert "bare: there is no python3" in errors(capsys)[0]
    first.close()
    changed = SshDevice(home=desk.folder / "other", client_key=desk.device.client_key, port=first.port)
    assert run("device", "probe", "bare") == 1
    (line,) = errors(capsys)
    assert "bare: the host key at" in line
    assert first.fingerprint in line
    assert run("device", "add", "bare2", changed.address, "--fingerprint", first.fingerprint) == 1
    assert "was not confirmed as its host key" in errors(capsys)[0]
    changed.close()
    stranger = SshDevice(home=desk.folder / "x", client_key=asyncssh.generate_private_key("ssh-ed25519"))
    add(desk, "closed", device=stranger)
    capsys.readouterr()
    assert run("device", "probe", "closed") == 1
    assert "refuses the keys of this desk" in errors(capsys)[0]
    stranger.close()


def test_a_full_disk_there_is_one_clear_line_and_leaves_nothing(desk: Desk) -> None:
    home = desk.folder / "full"
    full = SshDevice(home=home, client_key=desk.device.client_key, before="ulimit -f 1;")
    add(desk, "full", device=full)
    (desk.folder / "data").mkdir()
    (desk.folder / "data" / "a.bin").write_bytes(bytes(100_000))

    async def push() -> None:
        async with connect(find_device("full")) as remote:
            await remote.push(desk.folder / "data", "data/1")

    with pytest.raises(DeviceError, match="full: its disk is full: File too large"):
        asyncio.run(push())
    assert not [path for path in (home / ".edgeseg").rglob("*") if path.is_file()]
    full.before = ""
    asyncio.run(push())
    assert (home / ".edgeseg" / "data" / "1" / "a.bin").stat().st_size == 100_000
    full.close()


def test_ctrl_c_leaves_no_process_on_the_device(desk: Desk) -> None:
    command = [sys.executable, "-m", "edgeseg", "bench", desk.artifact, "--device", "kitchen", "--sustained", "10m"]
    # Not from the checkout's root: Python would take the half of the package that lies there.
    child = subprocess.Popen(command, cwd=desk.folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert child.stderr is not None
    while "bench runs" not in child.stderr.readline():
        assert child.poll() is None
    marker = str(desk.device.home)
    wait_for(lambda: running(marker))
    child.send_signal(signal.SIGINT)
    assert child.wait(30) == 130
    wait_for(lambda: not running(marker))
    child.stderr.close()
    assert run("verify", desk.artifact, "--device", "kitchen") == 0


@pytest.mark.slow
def test_ctrl_c_brings_home_what_a_run_wrote_until_then(desk: Desk) -> None:
    labels = desk.folder / "until-then"
    command = [sys.executable, "-m", "edgeseg", "run", desk.artifact, "--device", "kitchen", "--save-labels", labels]
    # Not from the checkout's root: Python would take the half of the package that lies there.
    child = subprocess.Popen(command, cwd=desk.folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    out = desk.device.home / ".edgeseg" / "out"
    wait_for(lambda: len(list(out.rglob("*.png"))) > 3, seconds=60)
    child.send_signal(signal.SIGINT)
    said = child.communicate(timeout=60)[1]
    assert child.returncode == 130
    assert f"kitchen: wrote {labels}" in said
    assert "stays there" not in said
    assert len(list(labels.glob("*.png"))) > 3
    assert not list(out.rglob("*.png"))
    wait_for(lambda: not running(str(desk.device.home)))


def test_the_output_of_a_command_there_comes_while_it_runs(desk: Desk) -> None:
    pieces: list[bytes] = []

    async def watch() -> None:
        async with connect(known("kitchen")) as remote:
            words = ["/bin/sh", "-c", "echo caf\u00e9; sleep 600"]
            command = asyncio.ensure_future(remote.run(words, on_output=pieces.append))
            while b"".join(pieces) != "caf\u00e9\n".encode():
                await asyncio.sleep(0.02)
            command.cancel()
            await asyncio.gather(command, return_exceptions=True)

    asyncio.run(asyncio.wait_for(watch(), 30))


def test_a_closed_stdout_here_is_not_a_lost_device(desk: Desk) -> None:
    command = [sys.executable, "-m", "edgeseg", "device", "run", "kitchen", "cameras"]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(command, cwd=desk.folder, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


def test_an_output_that_does_not_arrive_whole_is_not_taken_for_absent(desk: Desk, tmp_path: Path) -> None:
    class Failing(Remote):
        async def _execute_binary(self, command: str, *_arguments: str, **_options: object) -> tuple[Finished, bytes]:
            return Finished(status=1, stdout="", stderr=""), answer

    remote = Failing(known("kitchen"), None)
    answer = b""
    assert asyncio.run(remote.pull("out/1/a.mp4", tmp_path / "a.mp4")) is False
    answer = b'\x00\x01half of it{"error": "/a.mp4: Input/output error"}\n'
    with pytest.raises(DeviceError, match=r"kitchen: .*a\.mp4 did not arrive whole: /a\.mp4: Input/output error\."):
        asyncio.run(remote.pull("out/1/a.mp4", tmp_path / "a.mp4"))
    assert not (tmp_path / "a.mp4").exists()


def known(name: str) -> KnownDevice:
    device = find_device(name)
    assert isinstance(device, KnownDevice)
    return device


def test_ctrl_c_during_an_installation_leaves_nothing_half_made(desk: Desk) -> None:
    fresh = SshDevice(home=desk.folder / "fresh", client_key=desk.device.client_key)
    add(desk, "fresh", device=fresh)
    command = [sys.executable, "-m", "edgeseg", "device", "install", "fresh", "--wheels", desk.wheels]
    # Not from the checkout's root: Python would take the half of the package that lies there.
    child = subprocess.Popen(command, cwd=desk.folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert child.stderr is not None
    said = ""
    while "installing" not in said:
        line = child.stderr.readline()
        assert line, said
        said += line
    marker = str(fresh.home)
    wait_for(lambda: running(marker))
    child.send_signal(signal.SIGINT)
    assert child.wait(30) == 130
    child.stderr.close()
    wait_for(lambda: not running(marker))
    wait_for(lambda: not list((fresh.home / ".edgeseg" / "envs").iterdir()))
    assert not (fresh.home / ".edgeseg" / "env").exists()
    assert run("device", "install", "fresh", "--wheels", desk.wheels) == 0
    assert (fresh.home / ".edgeseg" / "env" / "bin" / "python").exists()
    fresh.close()


def test_a_desk_that_is_killed_in_the_middle_of_a_push_leaves_nothing(desk: Desk) -> None:
    fresh, name = SshDevice(home=desk.folder / "pushed", client_key=desk.device.client_key), "pushed"
    add(desk, name, device=fresh)
    child = subprocess.Popen(
        [sys.executable, "-P", "-c", ENDLESS_PUSH, name, desk.artifact], stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert child.stdout is not None
    assert child.stdout.readline() == "half\n"
    child.kill()
    child.wait(30)
    child.stdout.close()
    pushed = fresh.home / ".edgeseg" / "artifacts"
    wait_for(lambda: not pushed.exists() or not list(pushed.iterdir()))

    async def push() -> None:
        device = find_device(name)
        assert isinstance(device, KnownDevice)
        async with connect(device) as remote:
            await remote.push(desk.artifact, "artifacts/1")

    asyncio.run(push())
    assert (pushed / "1" / "manifest.json").read_bytes() == (desk.artifact / "manifest.json").read_bytes()
    assert [path.name for path in pushed.iterdir()] == ["1"]
    fresh.close()


def running(marker: str) -> list[str]:
    """Return the processes of edgeseg's environment on the device."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words and words[0].startswith(marker.encode()):
            found.append(entry.name)
    return found


def wait_for(condition: object, *, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.05)


def test_names_are_checked_before_anything_runs(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("validate", desk.artifact, "--device", "kichen") == 1
    assert 'Did you mean "kitchen"?' in errors(capsys)[0]
    assert run("bench", desk.artifact, "--device", "kitchn") == 1
    assert 'Did you mean "kitchen"?' in errors(capsys)[0]
    assert run("bench", desk.artifact, "--device", "garage") == 1
    assert '"garage"' in errors(capsys)[0]
    assert run("bench", desk.artifact, "--device", "kitchen", "--device-name", "garage") == 2
    assert "--device-name is for this machine" in errors(capsys)[0]
    assert run("device", "add", "kitchen", desk.device.address, "--fingerprint", desk.device.fingerprint) == 1
    assert "is known already" in errors(capsys)[0]
    with pytest.raises(InputError, match="cannot name a device"):
        add_device("nuc [/b]", desk.device.address, confirm=lambda _: True)


def test_remove_forgets_and_purges(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    other = SshDevice(home=desk.folder / "removed", client_key=desk.device.client_key)
    (other.home / ".edgeseg").mkdir()
    add(desk, "removed", device=other)
    assert run("device", "remove", "removed", "--purge") == 0
    assert not (other.home / ".edgeseg").exists()
    other.close()
    assert run("device", "probe", "removed") == 1
    capsys.readouterr()
    assert run("device", "list", "--json") == 0
    assert "removed" not in [item["name"] for item in json.loads(capsys.readouterr().out)["devices"]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ssh://pi@pi5.local", DeviceAddress(user="pi", host="pi5.local")),
        ("ssh://10.0.0.7:2222", DeviceAddress(user="", host="10.0.0.7", port=2222)),
        ("ssh://pi@[fe80::1]:22", DeviceAddress(user="pi", host="fe80::1")),
    ],
)
def test_addresses(text: str, expected: DeviceAddress) -> None:
    assert parse_address(text) == expected


@pytest.mark.parametrize(
    "text", ["pi@host", "ssh://", "ssh://a@b@c", "ssh://h:0", "ssh://h:99999", "http://h", "ssh://h x"]
)
def test_a_text_that_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is not an address such as"):
        parse_address(text)


def test_wheels_are_those_of_the_device_and_not_of_this_desk() -> None:
    tags = platform_tags(FACTS)
    assert tags[0] == "manylinux_2_36_aarch64"
    assert "manylinux_2_17_aarch64" in tags
    assert not any("x86_64" in tag or "2_37" in tag for tag in tags)
    assert "manylinux1_x86_64" in platform_tags(dataclasses.replace(FACTS, machine="x86_64"))
    for changed, said in (({"libc": ""}, "not glibc"), ({"machine": "riscv64"}, "riscv64 has no wheels")):
        with pytest.raises(DeviceError, match=said):
            platform_tags(dataclasses.replace(FACTS, **changed))
    with pytest.raises(DeviceError, match=r"pi: has CPython 3\.8\.10; edgeseg needs CPython 3\.10 to 3\.13"):
        check_python(dataclasses.replace(FACTS, python="3.8.10"), name="pi")


def test_a_wheel_that_does_not_exist_is_named(desk: Desk, tmp_path: Path) -> None:
    facts = dataclasses.replace(FACTS, machine="armv7l")
    with pytest.raises(DeviceError, match=r"no set of wheels for Python 3\.11, glibc 2\.36 and armv7l: .*openvino"):
        collect_wheels(facts, tmp_path, engines=["openvino"], source=desk.wheels)
    with pytest.raises(UnknownName, match='Did you mean "litert"'):
        collect_wheels(facts, tmp_path, engines=["litertt"], source=desk.wheels)


def test_edgesegs_own_wheel_is_small_whole_and_always_the_same(tmp_path: Path) -> None:
    import zipfile

    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, other = write_own_wheel(tmp_path / "a"), write_own_wheel(tmp_path / "b")
    assert one.read_bytes() == other.read_bytes()
    assert one.stat().st_size < 3e6
    names = zipfile.ZipFile(one).namelist()
    for name in ("edgeseg/devices/agent.py", "edgeseg/targets/__init__.py", "edgeseg/py.typed"):
        assert name in names
    assert not [name for name in names if name.endswith((".pyc", ".safetensors"))]
