"""What a device said about itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeseg.core.records import decode_record
from edgeseg.errors import DeviceError, EdgesegError

if TYPE_CHECKING:
    from edgeseg.devices.ssh import Remote

LEAST_PYTHON, MOST_PYTHON = (3, 10), (3, 13)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFacts:
    """Python, C library, CPU, memory and disk of a device; `edgeseg` is the version installed there, "" for none."""

    python: str
    implementation: str
    machine: str
    system: str
    libc: str
    libc_version: str
    os: str
    model: str
    cores: int
    memory_mb: int
    disk_free_mb: int
    home: str
    edgeseg: str

    @property
    def python_tuple(self) -> tuple[int, int]:
        """Major and minor version of its Python."""
        major, minor = self.python.split(".")[:2]
        return int(major), int(minor)

    @property
    def python_short(self) -> str:
        """Its Python as pip names it, such as 3.11."""
        return "{}.{}".format(*self.python_tuple)


async def read_facts(remote: Remote) -> DeviceFacts:
    """Return what a device says about itself; raises `DeviceError` where it has no Python or answers otherwise."""
    try:
        return decode_record(DeviceFacts, await remote.ask("probe"), where="probe")
    except DeviceError:
        raise
    except EdgesegError as error:
        raise DeviceError(f"{remote.name}: its answer cannot be read: {error}") from None


def check_python(facts: DeviceFacts, *, name: str) -> None:
    """Raise `DeviceError` unless edgeseg runs on the device's Python."""
    if facts.implementation != "CPython" or not LEAST_PYTHON <= facts.python_tuple <= MOST_PYTHON:
        raise DeviceError(
            f"{name}: has {facts.implementation} {facts.python}; edgeseg needs CPython 3.10 to 3.13. Install one there "
            "and add the device again with --python PATH."
        )
