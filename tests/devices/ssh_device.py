"""A device for tests: asyncssh's own server on loopback, with a home of its own and this machine's Python."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
import zipfile
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import asyncssh


@dataclass(kw_only=True)
class SshDevice:
    """A server thread; `home` is the device's home, `before` runs in the shell before each command there."""

    home: Path
    client_key: asyncssh.SSHKey
    before: str = ""
    port: int = 0
    host_key: asyncssh.SSHKey = field(default_factory=lambda: asyncssh.generate_private_key("ssh-ed25519"))

    def __post_init__(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        assert self._ready.wait(20)

    @property
    def address(self) -> str:
        return f"ssh://pi@127.0.0.1:{self.port}"

    @property
    def fingerprint(self) -> str:
        return str(self.host_key.get_fingerprint())

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._server.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._listen())
        self._ready.set()
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0.1))

    async def _listen(self) -> None:
        keys = self.client_key.export_public_key().decode()
        self._server = await asyncssh.listen(
            "127.0.0.1", self.port, server_host_keys=[self.host_key], process_factory=self._process, encoding=None,
            authorized_client_keys=asyncssh.import_authorized_keys(keys),
        )  # fmt: skip
        self.port = self._server.get_port()

    async def _process(self, process: asyncssh.SSHServerProcess) -> None:
        environment = {"HOME": str(self.home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1"}
        child = await asyncio.create_subprocess_shell(
            f"{self.before} {process.command}", env=environment, cwd=self.home,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        feeding = asyncio.ensure_future(_copy(process.stdin, child.stdin))
        await asyncio.gather(_copy(child.stdout, process.stdout), _copy(child.stderr, process.stderr))
        status = await child.wait()
        feeding.cancel()
        process.exit(status)


async def _copy(source: Any, target: Any) -> None:
    """Copy to the end; a reader that goes away is none of the writer's business."""
    with contextlib.suppress(OSError, asyncssh.Error):
        while chunk := await source.read(1 << 16):
            target.write(chunk)
            await target.drain()
    if isinstance(target, asyncio.StreamWriter):
        target.close()


def make_wheelhouse(folder: Path) -> Path:
    """Write a folder of wheels as a package index would serve them for this machine's Python, and return it.

    Libraries are empty wheels of the right names, and one of them brings this environment's packages by a .pth file:
    what is tested is edgeseg's way with wheels, not megabytes of numpy. pip is packed from the installed one.
    """
    folder.mkdir()
    here = "\n".join(path for path in sys.path if path.endswith("site-packages"))
    _write_wheel(folder, "numpy", {"edgeseg-test.pth": here.encode()})
    for name in ("rich", "opencv-python-headless", "ai-edge-litert", "onnxruntime"):
        _write_wheel(folder, name, {})
    found = metadata.distribution("pip")
    files = {
        str(path): path.locate().read_bytes()
        for path in found.files or ()
        if str(path).startswith("pip/") and not str(path).endswith(".pyc")
    }
    _write_wheel(folder, "pip", files)
    return folder


def _write_wheel(folder: Path, name: str, files: dict[str, bytes]) -> None:
    version = metadata.version(name)
    stem = f"{name.replace('-', '_')}-{version}"
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
        info = f"{stem}.dist-info"
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        rows = [f"{path},," for path in (*files, f"{info}/METADATA", f"{info}/WHEEL", f"{info}/RECORD")]
        archive.writestr(f"{info}/RECORD", "\n".join(rows) + "\n")
