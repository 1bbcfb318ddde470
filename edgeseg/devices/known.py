"""The devices that this desk knows: one JSON file each, with the pinned host key."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from edgeseg.core.files import read_json_value, write_json
from edgeseg.core.records import bounds, decode_record
from edgeseg.core.suggestions import unknown
from edgeseg.errors import EdgesegError, InputError

DEVICE_SCHEMA = 1
FOLDER_VARIABLE = "EDGESEG_DEVICES"
"""Environment variable with the folder of known devices."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_ADB = "adb:"
_SERIAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
_ADDRESS = re.compile(
    r"ssh://(?:(?P<user>[^@/:\s]+)@)?(?P<host>\[[0-9A-Fa-f:.%]+\]|[^@/:\s\[\]]+)(?::(?P<port>\d{1,5}))?/?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceAddress:
    """Where a device is reached by ssh; `user` is "" for the desk's own user name."""

    user: str
    host: str
    port: int = field(default=22, metadata=bounds(low=1, high=65535))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{f'{self.user}@' if self.user else ''}{host}{'' if self.port == 22 else f':{self.port}'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownDevice:
    """A device added by `edgeseg device add`.

    `host_key` is its public key in OpenSSH's format and `fingerprint` that key's SHA-256. `key_file` is a private key
    to log in with, "" for the agent and the usual files; `python` is the interpreter to use there.
    """

    schema: int
    name: str
    address: DeviceAddress
    host_key: str
    fingerprint: str
    key_file: str = ""
    python: str = "python3"

    def __post_init__(self) -> None:
        _check_schema(self.schema)


@dataclass(frozen=True, slots=True, kw_only=True)
class AdbDevice:
    """A phone added by `edgeseg device add NAME adb:[SERIAL]`.

    `model` is what it calls itself, and `benchmark_sha256` the hash of the `benchmark_model` that was installed there,
    "" for none.
    """

    schema: int
    name: str
    serial: str
    model: str = ""
    benchmark_sha256: str = ""

    def __post_init__(self) -> None:
        _check_schema(self.schema)
        if not _SERIAL.fullmatch(self.serial):
            raise ValueError(f"serial is {self.serial!r}; adb devices lists none such.")

    @property
    def address(self) -> str:
        """The address that `edgeseg device add` takes."""
        return f"{_ADB}{self.serial}"


def _check_schema(schema: int) -> None:
    if schema != DEVICE_SCHEMA:
        raise ValueError(f"schema {schema} is not known to this version; it reads schema {DEVICE_SCHEMA}.")


AnyDevice = KnownDevice | AdbDevice
"""A device that is reached by ssh, or by adb."""


def parse_adb_address(text: str) -> str | None:
    """Return the serial in `adb:SERIAL`, "" for `adb:` alone, and None for the address of another kind.

    Raises:
        InputError: a serial that cannot be one.
    """
    if not text.startswith(_ADB):
        return None
    serial = text.removeprefix(_ADB)
    if serial and not _SERIAL.fullmatch(serial):
        raise InputError(f'"{text}" has no serial such as those of adb devices: adb:1A2B3C4D or adb:192.168.1.7:5555.')
    return serial


def parse_address(text: str) -> DeviceAddress:
    """Return the address in `ssh://[user@]host[:port]`; raises `InputError` for anything else."""
    found = _ADDRESS.fullmatch(text)
    port = int(found["port"] or 22) if found else 0
    if found is None or not 1 <= port <= 65535:
        raise InputError(
            f'"{text}" is not an address such as ssh://pi@192.168.1.7, ssh://pi@raspberrypi.local:2222 or adb:SERIAL.'
        )
    return DeviceAddress(user=found["user"] or "", host=found["host"].strip("[]"), port=port)


def devices_folder() -> Path:
    """Return the folder of known devices: EDGESEG_DEVICES, or edgeseg/devices in the user's configuration folder."""
    given = os.environ.get(FOLDER_VARIABLE)
    if given:
        return Path(given)
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "edgeseg" / "devices"


def check_device_name(name: str) -> None:
    """Raise `InputError` for a name that is not one plain word."""
    if not _NAME.fullmatch(name):
        raise InputError(f'"{name}" cannot name a device: use letters, digits, dots, hyphens and underscores.')


def save_device(device: AnyDevice, *, replace: bool = False) -> Path:
    """Write a device's file and return it; with `replace`, over the one of the same name.

    Raises:
        InputError: a name that cannot be one, a device of that name, or a folder that cannot be written.
    """
    check_device_name(device.name)
    path = devices_folder() / f"{device.name}.json"
    if path.exists() and not replace:
        raise InputError(f"{device.name}: is known already. Remove it first: edgeseg device remove {device.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(device, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}.") from None
    return path


def find_device(name: str) -> AnyDevice:
    """Return a known device; raises `UnknownName` for another name, `RecipeError` for a damaged file."""
    names = device_names()
    if name not in names:
        if not names:
            raise InputError(f'No device is known yet, so not "{name}": edgeseg device add {name} ssh://USER@HOST')
        raise unknown("device", name, names)
    path = devices_folder() / f"{name}.json"
    content = read_json_value(path)
    by_adb = isinstance(content, dict) and "serial" in content
    kind: type[AnyDevice] = AdbDevice if by_adb else KnownDevice
    return decode_record(kind, content, where=str(path))


def device_names() -> tuple[str, ...]:
    """Return the names of the known devices, sorted."""
    return tuple(sorted(path.stem for path in devices_folder().glob("*.json") if _NAME.fullmatch(path.stem)))


def known_devices() -> tuple[AnyDevice | EdgesegError, ...]:
    """Return every known device, or the error of a file that cannot be read, by name."""
    found: list[AnyDevice | EdgesegError] = []
    for name in device_names():
        try:
            found.append(find_device(name))
        except EdgesegError as error:
            found.append(error)
    return tuple(found)


def forget_device(name: str) -> None:
    """Delete a known device's file; raises as `find_device` does, and `InputError` where it cannot be deleted."""
    path = devices_folder() / f"{name}.json"
    if name not in device_names():
        find_device(name)
    try:
        path.unlink()
    except OSError as error:
        raise InputError(f"{path}: cannot be deleted: {error.strerror}.") from None
