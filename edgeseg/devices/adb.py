"""One Android phone through the `adb` program of the user's platform-tools: run, push, and every fault in one line."""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import shlex
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeseg.core.files import sha256_of
from edgeseg.errors import DeviceError

if TYPE_CHECKING:
    from pathlib import Path

PHONE_FOLDER = "/data/local/tmp/edgeseg"
"""The folder of edgeseg on a phone: below the only one where adb's user may write and start programs."""
CALL_S = 60.0
PUSH_S = 600.0
_REAP_S = 2.0
_FAULTS = (
    (r"unauthorized|authorizing", "this desk is not allowed yet. Unlock the phone and accept \"Allow USB debugging\"."),
    (r"\boffline\b", "is offline. Connect it again, or run adb reconnect."),
    (r"no permissions", "this desk's user may not open the USB device (udev). See adb's own page on it."),
    (r"more than one device", "adb sees several devices. Remove this one and add it again as adb:SERIAL."),
    (r"no devices/emulators found|device '.*' not found|device not found", "is not connected, or its USB debugging is "
     "off. See adb devices."),
    (r"No space left", "its storage is full."),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachedDevice:
    """One line of `adb devices -l`."""

    serial: str
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AdbOutput:
    """What a command printed, stdout and stderr in one, and its exit status."""

    status: int
    text: str


async def attached_devices(*, name: str) -> tuple[AttachedDevice, ...]:
    """Return what `adb devices -l` lists; raises `DeviceError` where there is no adb, or its server does not start."""
    done = await _call([_program(name), "devices", "-l"], limit_s=CALL_S)
    # What the server says while it starts, or why it does not, comes before the list.
    _, heading, listed = done.text.partition("List of devices attached")
    if done.status or not heading:
        raise _fault(done.text, name=name)
    found = re.findall(r"^(\S+)\s+(device|offline|unauthorized|no permissions|\w+)\b", listed, re.MULTILINE)
    return tuple(AttachedDevice(serial=serial, state=state) for serial, state in found if serial != "*")


async def choose_serial(serial: str, *, name: str) -> str:
    """Return the serial of the phone to add, which may be "" where one alone is connected.

    Raises:
        DeviceError: no phone, none of this serial, several without a serial, or one that does not accept this desk.
    """
    attached = await attached_devices(name=name)
    if not attached:
        raise DeviceError(f"{name}: no Android device is connected, or its USB debugging is off. See adb devices.")
    serials = ", ".join(item.serial for item in attached)
    if not serial and len(attached) > 1:
        raise DeviceError(f"{name}: adb sees {len(attached)} devices ({serials}). Name one: adb:SERIAL.")
    chosen = [item for item in attached if serial in ("", item.serial)]
    if not chosen:
        raise DeviceError(f"{name}: adb sees no device {serial}; it sees {serials}.")
    if chosen[0].state != "device":
        raise _fault(chosen[0].state, name=name)
    return chosen[0].serial


class Adb:
    """A phone by its serial; `name` is what the user calls it."""

    def __init__(self, *, name: str, serial: str) -> None:
        self.name = name
        self._serial = serial

    async def shell(self, *words: str, limit_s: float = CALL_S) -> AdbOutput:
        """Return what a program on the phone printed; raises `DeviceError` where the phone cannot be reached."""
        return await self._adb("shell", shlex.join(words), limit_s=limit_s)

    async def run(self, *words: str, limit_s: float) -> AdbOutput:
        """Run a program on the phone to its end; a cancelled call ends it there too."""
        # adbd does not end what it started when its client goes away, so its process id is kept there.
        note = f"{PHONE_FOLDER}/{secrets.token_hex(8)}.pid"
        try:
            return await self._adb("shell", f"echo $$ > {note}; exec {shlex.join(words)}", limit_s=limit_s)
        except (asyncio.CancelledError, DeviceError):
            with contextlib.suppress(DeviceError):
                await self._adb("shell", f"kill -9 $(cat {note})", limit_s=5)
            raise
        finally:
            with contextlib.suppress(DeviceError):
                await self.shell("rm", "-f", note, limit_s=5)

    async def push(self, file: Path, name: str) -> str:
        """Return the path of a file on the phone; it is sent unless one of that name, which has its hash, is there.

        Raises:
            DeviceError: the phone cannot be reached, is full, or got other bytes.
        """
        target = f"{PHONE_FOLDER}/{name}"
        if (await self.shell("test", "-f", target)).status == 0:
            return target
        partial = f"{target}.{secrets.token_hex(4)}.partial"
        await self._checked("mkdir", "-p", target.rpartition("/")[0])
        try:
            await self._send(file, partial)
            await self._checked("chmod", "755", partial)
            await self._checked("mv", partial, target)
        except BaseException:
            with contextlib.suppress(DeviceError):
                await self.shell("rm", "-f", partial, limit_s=5)
            raise
        return target

    async def _send(self, file: Path, target: str) -> None:
        sent = await self._adb("push", str(file), target, limit_s=PUSH_S)
        if sent.status:
            raise _fault(sent.text, name=self.name)
        printed = await self._checked("sha256sum", target)
        if printed.split()[:1] != [sha256_of(file)]:
            raise DeviceError(f"{self.name}: {file.name} arrived damaged. Try again.")

    async def _checked(self, *words: str) -> str:
        done = await self.shell(*words)
        if done.status:
            raise _fault(done.text, name=self.name)
        return done.text

    async def _adb(self, *words: str, limit_s: float) -> AdbOutput:
        done = await _call([_program(self.name), "-s", self._serial, *words], limit_s=limit_s)
        if done.status and re.search(r"^(adb|error): ", done.text, re.MULTILINE):
            raise _fault(done.text, name=self.name)
        return done


async def _call(words: list[str], *, limit_s: float) -> AdbOutput:
    """Return what adb printed; raises `DeviceError` where it does not end in time. It never outlives this call."""
    # In a session of its own: Ctrl-C at the terminal reaches this process alone, which then tidies up on the phone.
    child = await asyncio.create_subprocess_exec(
        *words, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip
    lines: list[str] = []

    async def read() -> int:
        assert child.stdout is not None
        async for raw in child.stdout:
            lines.append(raw.decode(errors="replace").rstrip("\r\n"))
        return await child.wait()

    try:
        status = await asyncio.wait_for(read(), limit_s)
    except asyncio.TimeoutError:
        raise DeviceError(
            f"adb {words[-1][:60]}: no end within {limit_s:.0f} s. Is the phone still connected?"
        ) from None
    finally:
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(child.wait(), _REAP_S)
    return AdbOutput(status=status, text="\n".join(lines))


def _program(name: str) -> str:
    found = shutil.which("adb")
    if found is None:
        raise DeviceError(
            f"{name}: there is no adb on PATH. Install Android's platform-tools (on Debian: apt install adb)."
        )
    return found


def _fault(text: str, *, name: str) -> DeviceError:
    for pattern, said in _FAULTS:
        if re.search(pattern, text):
            return DeviceError(f"{name}: {said}")
    lines = [line for line in text.strip().splitlines() if not line.startswith("* daemon")] or ["no message"]
    return DeviceError(f"{name}: adb failed: {lines[0].removeprefix('adb: ').removeprefix('error: ')[:200]}")
