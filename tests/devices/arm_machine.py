"""An emulated Raspberry Pi: unpacked arm64 packages of Debian under qemu's user emulation, with an ssh server.

Nothing is installed and no other user is needed: a user, mount and process namespace of its own holds the machine, and
its processes end with the one that made it. The clock of such a machine means nothing.
"""

from __future__ import annotations

import platform
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("python3", "openssh-server", "dash", "coreutils", "base-files", "libgcc-s1", "libstdc++6", "libgomp1")
_UNUSED = ("perl", "libperl", "lib*-perl", "dpkg", "ucf", "debconf", "passwd", "adduser", "libsem*", "procps", "gcc-*")
"""What the packages bring along for their installation scripts, which never run here."""
_PROGRAMS = ("apt-get", "dpkg-deb", "tar", "unshare", "setpriv", "bash", "mount")
_SOURCES = (Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list"))
_DOWNLOAD_S, _START_S = 240, 60
CORES = 4
CPU_PARTS = {"cortex-a72": "0xd08", "cortex-a76": "0xd0b"}
"""Part numbers of /proc/cpuinfo by qemu's CPU: a Raspberry Pi 4's and a Raspberry Pi 5's."""

_LAUNCH = r"""set -e
root=$1 qemu=$2 cpuinfo=$3 port=$4
mount --bind "$root" "$root"
mount -t binfmt_misc none /proc/sys/fs/binfmt_misc
printf '%s' ':edgeseg-arm64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:'\
'\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:'"$qemu:F" \
  > /proc/sys/fs/binfmt_misc/register
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
mount --bind "$cpuinfo" "$root/proc/cpuinfo"
exec unshare --user --map-user=1000 --map-group=1000 --root="$root" --wd=/ \
  /usr/sbin/sshd -D -e -o "SetEnv=QEMU_CPU=$QEMU_CPU" -o "Port=$port"
"""
_SSHD = """ListenAddress 127.0.0.1
HostKey /etc/ssh/host_key
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
"""
# sdot v0.4s, v1.16b, v2.16b: optional since Armv8.2, which Cortex-A76 has and Cortex-A72 lacks; then exit(0).
_SDOT_PROGRAM = (0x4E829420, 0xD2800000, 0xD2800BA8, 0xD4000001)


class Unavailable(Exception):
    """Why no emulated machine can be made here."""


@dataclass(frozen=True, kw_only=True)
class ArmMachine:
    """One running ssh server of an unpacked machine, with its CPU of qemu; `stop` ends all of its processes."""

    root: Path
    cpu: str
    port: int
    child: subprocess.Popen[bytes]

    @property
    def address(self) -> str:
        return f"ssh://pi@127.0.0.1:{self.port}"

    def stop(self) -> None:
        self.child.kill()
        self.child.wait(30)


def check_here() -> None:
    """Raise `Unavailable` unless this is Debian on x86-64 with the programs and namespaces that are needed."""
    if platform.system() != "Linux" or platform.machine() != "x86_64" or not Path("/etc/debian_version").exists():
        raise Unavailable("an emulated Arm machine needs Debian on x86-64 here")
    missing = [name for name in _PROGRAMS if shutil.which(name) is None]
    if missing:
        raise Unavailable(f"these programs are missing: {', '.join(missing)}")
    mounting = "mount -t binfmt_misc none /proc/sys/fs/binfmt_misc && mount -t proc proc /mnt"
    _call(["unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "bash", "-c", mounting],
          what="a namespace with its own binfmt_misc (Linux 6.7 and newer)", seconds=20)  # fmt: skip


def unpack_machine(folder: Path, *, key: str, host_key: str) -> tuple[Path, Path]:
    """Return the root folder of a machine and qemu's program; `key` is the public key that may log in there.

    Raises:
        Unavailable: a package that cannot be downloaded.
    """
    downloads = folder / "packages"
    downloads.mkdir(parents=True)
    options = _apt_options(folder / "apt")
    _call(["apt-get", *options, "-q", "update"], what="Debian's package lists", seconds=_DOWNLOAD_S)
    _call(["apt-get", *options, "-q", "-y", "--download-only", "--no-install-recommends", "install", *PACKAGES],
          what="Debian's arm64 packages", seconds=_DOWNLOAD_S)  # fmt: skip
    root = folder / "root"
    for name in ("bin", "sbin", "lib"):
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    for package in sorted((folder / "apt/cache/archives").glob("*.deb")):
        if not any(Path(package.name).match(f"{pattern}_*") for pattern in _UNUSED):
            _unpack(package, root)
    _write_settings(root, key=key, host_key=host_key)
    found = shutil.which("qemu-aarch64-static")
    if found is not None:
        return root, Path(found)
    _call(["apt-get", *options, "-q", "download", "qemu-user-static:amd64"], what="Debian's qemu-user-static",
          seconds=_DOWNLOAD_S, cwd=downloads)  # fmt: skip
    _unpack(next(downloads.glob("*.deb")), folder, "./usr/bin/qemu-aarch64-static")
    return root, folder / "usr/bin/qemu-aarch64-static"


def start_machine(root: Path, *, qemu: Path, cpu: str) -> ArmMachine:
    """Return the machine with a CPU, its ssh server ready; several may run from one root.

    Raises:
        Unavailable: its server does not start; the reason is in it.
    """
    port = _free_port()
    cpuinfo, log = root.parent / f"cpuinfo-{cpu}", root.parent / f"sshd-{cpu}.log"
    cpuinfo.write_text("".join(_core(number, part=CPU_PARTS[cpu]) for number in range(CORES)), encoding="ascii")
    # setpriv: the machine ends also where this process is killed.
    command = [
        "setpriv", "--pdeathsig", "KILL", "unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork",
        "--kill-child", "bash", "-c", _LAUNCH, "launch", str(root), str(qemu), str(cpuinfo), str(port),
    ]  # fmt: skip
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "QEMU_CPU": cpu}
    with log.open("wb") as stream:
        child = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream)
    machine = ArmMachine(root=root, cpu=cpu, port=port, child=child)
    end = time.monotonic() + _START_S
    while f"port {port}" not in log.read_text(errors="replace"):
        if child.poll() is not None or time.monotonic() > end:
            machine.stop()
            said = log.read_text(errors="replace").strip().splitlines() or ["no message"]
            raise Unavailable(f"the emulated {cpu} does not start: {said[-1]}")
        time.sleep(0.2)
    return machine


def write_sdot_program(path: Path) -> None:
    """Write a static arm64 program of one int8 dot product; a CPU without that instruction kills it (SIGILL)."""
    entry, size = 0x400000 + 120, 120 + 4 * len(_SDOT_PROGRAM)
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    for value, width in ((2, 2), (0xB7, 2), (1, 4), (entry, 8), (64, 8), (0, 8), (0, 4), (64, 2), (56, 2), (1, 2),
                         (0, 2), (0, 2), (0, 2)):  # fmt: skip
        header += value.to_bytes(width, "little")
    for value, width in ((1, 4), (5, 4), (0, 8), (0x400000, 8), (0x400000, 8), (size, 8), (size, 8), (0x10000, 8)):
        header += value.to_bytes(width, "little")
    path.write_bytes(header + b"".join(word.to_bytes(4, "little") for word in _SDOT_PROGRAM))
    path.chmod(0o755)


def _apt_options(folder: Path) -> list[str]:
    """Return options with which apt reads and writes in `folder` alone, for arm64."""
    for name in ("state/lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True)
    status = folder / "state/status"
    status.touch()
    sources = next((path for path in _SOURCES if path.exists()), None)
    if sources is None:
        raise Unavailable("apt has no list of Debian's sources here")
    settings = (
        f"Dir::State={folder / 'state'}", f"Dir::State::status={status}", f"Dir::Cache={folder / 'cache'}",
        f"Dir::Etc::SourceList={sources}", "Dir::Etc::SourceParts=/dev/null", "APT::Architecture=arm64",
        "APT::Architectures::=arm64", "APT::Architectures::=amd64", "APT::Sandbox::User=root",
        "Acquire::Languages=none", "Acquire::Retries=1", "Acquire::http::Timeout=20",
    )  # fmt: skip
    return [word for setting in settings for word in ("-o", setting)]


def _unpack(package: Path, folder: Path, *members: str) -> None:
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE) as reading:
        _call(["tar", "-x", "-C", str(folder), "--keep-directory-symlink", "--no-same-owner", *members],
              what=f"the content of {package.name}", seconds=60, stdin=reading.stdout)  # fmt: skip


def _write_settings(root: Path, *, key: str, host_key: str) -> None:
    texts = {
        "etc/passwd": "root:x:0:0:root:/root:/bin/sh\npi:x:1000:1000::/home/pi:/bin/sh\n",
        "etc/group": "root:x:0:\npi:x:1000:\n",
        "etc/ssh/sshd_config": _SSHD,
        "etc/ssh/host_key": host_key,
        "home/pi/.ssh/authorized_keys": key,
        # Without these, the engines find no CPU: XNNPACK then leaves all to the slow kernels, whose int8 differs.
        **{f"sys/devices/system/cpu/{name}": f"0-{CORES - 1}\n" for name in ("possible", "present", "online")},
        "sys/class/thermal/thermal_zone0/temp": "47000\n",
        "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    }
    for name, text in texts.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (root / "etc/ssh/host_key").chmod(0o600)
    for name in ("proc", "dev", "tmp", "run"):
        (root / name).mkdir(exist_ok=True)


def _core(number: int, *, part: str) -> str:
    lines = (f"processor\t: {number}", "BogoMIPS\t: 108.00", "Features\t: fp asimd evtstrm crc32 cpuid",
             "CPU implementer\t: 0x41", "CPU architecture: 8", "CPU variant\t: 0x0", f"CPU part\t: {part}",
             "CPU revision\t: 3", "", "")  # fmt: skip
    return "\n".join(lines)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _call(command: list[str], *, what: str, seconds: float, cwd: Path | None = None, stdin: object = None) -> None:
    """Run a command in this process group, which ends with it; raises `Unavailable` with its last line on failure."""
    child = subprocess.Popen(  # type: ignore[call-overload]
        command, cwd=cwd, stdin=stdin or subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )  # fmt: skip
    try:
        printed = child.communicate(timeout=seconds)[0]
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        raise Unavailable(f"{what}: not ready after {seconds:.0f} s") from None
    if child.returncode:
        lines = printed.strip().splitlines() or ["no message"]
        raise Unavailable(f"{what}: unavailable: {lines[-1][:200]}")
