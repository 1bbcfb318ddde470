"""A connection to one device: the host key is pinned, and every fault is one clear line."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import shlex
import tarfile
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeseg.core.requirements import require_modules
from edgeseg.errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from edgeseg.devices.known import DeviceAddress, KnownDevice

CONNECT_S = 15.0
_KEEPALIVE_S = 10
_CHUNK = 1 << 18
_MOST_OUTPUT = 1 << 30
_NOT_FOUND = 127
_LOST = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class HostKey:
    """A host's public key in OpenSSH's format, and its SHA-256 fingerprint."""

    text: str
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """What a command on a device printed, and its exit status."""

    status: int
    stdout: str
    stderr: str


async def fetch_host_key(address: DeviceAddress, *, name: str) -> HostKey:
    """Return the host key that answers at an address now.

    Raises:
        DeviceError: nothing answers there, or no ssh server.
        MissingDependency: asyncssh is not installed.
    """
    asyncssh = _asyncssh()
    try:
        key = await asyncio.wait_for(asyncssh.get_server_host_key(address.host, address.port, config=None), CONNECT_S)
    except (OSError, asyncssh.Error, asyncio.TimeoutError) as error:
        raise _explained(error, name=name, address=address) from None
    if key is None:
        raise DeviceError(f"{name}: {address} shows no host key, so there is nothing to pin.")
    return HostKey(text=key.export_public_key().decode().strip(), fingerprint=key.get_fingerprint())


@contextlib.asynccontextmanager
async def connect(device: KnownDevice) -> AsyncIterator[Remote]:
    """Yield a connection to a device; when it closes, nothing that was started through it keeps running there.

    Raises:
        DeviceError: the device cannot be reached, is another one than was pinned, or refuses the keys.
        MissingDependency: asyncssh is not installed.
    """
    asyncssh = _asyncssh()
    address = device.address
    options: dict[str, Any] = {"port": address.port, "keepalive_interval": _KEEPALIVE_S, "config": None}
    if address.user:
        options["username"] = address.user
    if device.key_file:
        options["client_keys"] = [device.key_file]
    try:
        pinned = asyncssh.import_public_key(device.host_key)
        connection = await asyncio.wait_for(
            asyncssh.connect(address.host, known_hosts=([pinned], [], []), **options), CONNECT_S
        )
    except (OSError, asyncssh.Error, asyncssh.KeyImportError, asyncio.TimeoutError) as error:
        raise _explained(error, name=device.name, address=address, fingerprint=device.fingerprint) from None
    async with connection:
        yield Remote(device, connection)


class Remote:
    """One open connection: runs the agent's commands, pushes folders, pulls results."""

    def __init__(self, device: KnownDevice, connection: Any) -> None:
        self.device = device
        self._connection = connection

    @property
    def name(self) -> str:
        """The device's name."""
        return self.device.name

    async def ask(self, command: str, *arguments: str) -> dict[str, Any]:
        """Return the answer of one of the agent's commands; raises `DeviceError` with its error."""
        return self._answer(await self._execute(command, *arguments))

    async def run(
        self,
        arguments: Sequence[str],
        *,
        on_line: Callable[[str], None] | None = None,
        on_output: Callable[[bytes], None] | None = None,
        finishing_s: float = 0.0,
    ) -> Finished:
        """Run a program there to its end; `@python` stands for edgeseg's own Python, `on_line` gets lines of stderr.

        `on_output` gets stdout piece by piece as it comes, and the result then has none. A cancelled call interrupts
        the program and gives it `finishing_s` to write what it has.
        """
        done, content = await self._execute_binary(
            "run", *arguments, on_line=on_line, on_output=on_output, finishing_s=finishing_s
        )
        return Finished(status=done.status, stdout=content.decode(errors="replace"), stderr=done.stderr)

    async def push(self, folder: Path, name: str, *, paths: Sequence[str] | None = None) -> str:
        """Return where a folder lies on the device; it is sent unless one of that name is there already.

        `name` must contain the content's hash, and `paths` are the files to send (default: all).

        Raises:
            DeviceError: a full disk, a lost connection, a folder that cannot be written there.
        """
        found = await self.ask("has", name)
        if found["has"]:
            return str(found["path"])
        entries = [(path, folder / path) for path in (paths or _files_in(folder))]
        size = sum(path.stat().st_size for _, path in entries)
        done = await self._execute("receive", name, str(len(entries)), str(size), stdin=_tar_chunks(entries))
        return str(self._answer(done)["path"])

    async def pull(self, name: str, destination: Path) -> bool:
        """Write a file or folder of ~/.edgeseg to `destination`, its first path component dropped; False if absent.

        Raises:
            DeviceError: it is there but does not arrive, or cannot be written here.
        """
        done, content = await self._execute_binary("send", name)
        if done.status == 1 and not content:
            return False
        if done.status:
            raise DeviceError(f"{self.name}: {destination} did not arrive whole: {_reason(done, content)}.")
        with tarfile.open(fileobj=io.BytesIO(content)) as stream:
            for member in stream:
                relative = Path(*Path(member.name).parts[1:])
                if not member.isfile() or ".." in relative.parts or relative.is_absolute():
                    continue
                path = destination / relative if relative.parts else destination
                inside = stream.extractfile(member)
                assert inside is not None
                try:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(inside.read())
                except OSError as error:
                    raise DeviceError(f"{self.name}: {path}: cannot be written here: {error.strerror}.") from None
        return True

    def _answer(self, done: Finished) -> dict[str, Any]:
        lines = done.stdout.strip().splitlines()
        try:
            answer = json.loads(lines[-1]) if lines else None
        except ValueError:
            answer = None
        if isinstance(answer, dict) and "error" in answer:
            raise DeviceError(f"{self.name}: {answer['error']}.")
        if done.status or not isinstance(answer, dict):
            raise self._failed(done)
        return answer

    def _failed(self, done: Finished) -> DeviceError:
        python, said = self.device.python, (done.stderr.strip().splitlines() or ["no message"])[-1]
        if done.status == _NOT_FOUND:
            return DeviceError(
                f"{self.name}: there is no {python} on it. Install Python 3.10 to 3.13 there, or add the device again "
                "with --python PATH."
            )
        return DeviceError(f"{self.name}: {python} there ended with status {done.status}: {said[:300]}")

    async def _execute(
        self,
        command: str,
        *arguments: str,
        stdin: Iterator[bytes] | None = None,
    ) -> Finished:
        done, content = await self._execute_binary(command, *arguments, stdin=stdin)
        return Finished(status=done.status, stdout=content.decode(errors="replace"), stderr=done.stderr)

    async def _execute_binary(
        self,
        command: str,
        *arguments: str,
        stdin: Iterator[bytes] | None = None,
        on_line: Callable[[str], None] | None = None,
        on_output: Callable[[bytes], None] | None = None,
        finishing_s: float = 0.0,
    ) -> tuple[Finished, bytes]:
        asyncssh = _asyncssh()
        source = (files("edgeseg.devices") / "agent.py").read_text(encoding="utf-8")
        words = [self.device.python, "-c", source, command, *arguments]
        try:
            async with self._connection.create_process(shlex.join(words), encoding=None) as process:
                feeding = asyncio.ensure_future(_feed(process, stdin))
                try:
                    content, errors = await asyncio.gather(
                        _read_all(process.stdout, on_output), _read_lines(process.stderr, on_line)
                    )
                    await process.wait_closed()
                except asyncio.CancelledError:
                    if finishing_s:
                        with contextlib.suppress(OSError, asyncssh.Error, asyncio.TimeoutError):
                            process.stdin.write_eof()  # the agent interrupts the program then
                            await asyncio.wait_for(process.communicate(), finishing_s)
                    raise
                finally:
                    feeding.cancel()
                    with contextlib.suppress(asyncio.CancelledError, OSError, asyncssh.Error):
                        await feeding
                status = process.exit_status
        except (OSError, asyncssh.Error) as error:
            raise _explained(error, name=self.name, address=self.device.address) from None
        if status is None and (on_output is not None or not content):
            raise DeviceError(f"{self.name}: the connection was lost while {command} ran there. Try again.")
        return Finished(status=_LOST if status is None else status, stdout="", stderr=errors), content


async def _feed(process: Any, chunks: Iterator[bytes] | None) -> None:
    """Send stdin; without any it stays open, because its end stops the program there."""
    if chunks is None:
        return
    # A device that has refused the rest says why on stdout.
    with contextlib.suppress(BrokenPipeError, ConnectionError):
        for chunk in chunks:
            process.stdin.write(chunk)
            await process.stdin.drain()
        process.stdin.write_eof()


def _reason(done: Finished, content: bytes) -> str:
    """Return the error that the agent printed behind what it had sent, or the last line of its stderr."""
    said = content.rstrip().rpartition(b"\n")[2].rpartition(b'{"error": ')
    with contextlib.suppress(ValueError):
        return str(json.loads(said[1] + said[2])["error"])
    return (done.stderr.strip().splitlines() or [f"status {done.status}"])[-1][:300]


async def _read_all(stream: Any, on_output: Callable[[bytes], None] | None = None) -> bytes:
    parts, size = [], 0
    while chunk := await stream.read(_CHUNK):
        if on_output is not None:
            on_output(chunk)
            continue
        parts.append(chunk)
        size += len(chunk)
        if size > _MOST_OUTPUT:
            raise DeviceError("A device sent more than 1 GB; that is no result.")
    return b"".join(parts)


async def _read_lines(stream: Any, on_line: Callable[[str], None] | None) -> str:
    lines: list[str] = []
    async for line in stream:
        text = line.decode(errors="replace").rstrip()
        lines.append(text)
        del lines[:-50]
        if on_line is not None and text:
            on_line(text)
    return "\n".join(lines)


def _files_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _tar_chunks(entries: Sequence[tuple[str, Path]]) -> Iterator[bytes]:
    """Yield a tar archive of files, piece by piece, never whole in memory."""
    for name, path in entries:
        info = tarfile.TarInfo(name)
        info.size = path.stat().st_size
        yield info.tobuf(tarfile.PAX_FORMAT)
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                yield chunk
        yield b"\0" * (-info.size % tarfile.BLOCKSIZE)
    yield b"\0" * (2 * tarfile.BLOCKSIZE)


def _explained(error: Exception, *, name: str, address: DeviceAddress, fingerprint: str = "") -> DeviceError:
    asyncssh = _asyncssh()
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        return DeviceError(
            f"{name}: the host key at {address} is not the one that was pinned ({fingerprint}). If the device was set "
            f"up anew, remove and add it again; if not, somebody may be in between."
        )
    if isinstance(error, asyncssh.PermissionDenied):
        return DeviceError(
            f"{name}: {address} refuses the keys of this desk. Copy one there with ssh-copy-id, load it into "
            "ssh-agent, or add the device again with --key FILE."
        )
    if isinstance(error, (asyncssh.KeyImportError, asyncssh.KeyEncryptionError)):
        return DeviceError(f"{name}: the key cannot be used: {error}. Load it into ssh-agent, or name another file.")
    if isinstance(error, asyncssh.Error):
        return DeviceError(f"{name}: the connection to {address} failed: {error}")
    if isinstance(error, (TimeoutError, asyncio.TimeoutError)):
        reason = f"no answer within {CONNECT_S:.0f} s"
    else:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return DeviceError(f"{name}: {address} cannot be reached: {reason}. Is it switched on, and on this network?")


def _asyncssh() -> Any:
    require_modules(["asyncssh"], what="Remote devices", extra="devices")
    import asyncssh

    return asyncssh
