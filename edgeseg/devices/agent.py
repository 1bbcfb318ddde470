"""What edgeseg runs on a remote device: sent as text to `python3 -c`, never installed; standard library, Python 3.8.

`COMMAND ARGUMENT...`, with a JSON object on the last line of stdout; {"error": TEXT} and status 1 where it fails.
Everything that it writes is in ~/.edgeseg, first under a temporary name.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from pathlib import Path

HOME = Path.home() / ".edgeseg"
UNFINISHED = ".partial"
LEFT_OVER_S = 3600
GRACE_S = 5.0
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Failure(Exception):
    """An error for the user."""


def probe() -> dict[str, object]:
    """Return what decides which wheels fit, and what is installed already."""
    libc, libc_version = platform.libc_ver()
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "machine": platform.machine(),
        "system": platform.system(),
        "libc": libc,
        "libc_version": libc_version,
        "os": os_name(),
        "model": read("/proc/device-tree/model").strip("\0").strip(),
        "cores": os.cpu_count() or 1,
        "memory_mb": memory_mb(),
        "disk_free_mb": shutil.disk_usage(str(Path.home())).free // 10**6,
        "home": str(HOME),
        "edgeseg": installed_version(),
    }


def read(path: str) -> str:
    """Return a file's text, "" where it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def os_name() -> str:
    """Return the distribution's name."""
    found = re.search(r'^PRETTY_NAME="?([^"\n]+)', read("/etc/os-release"), re.MULTILINE)
    return found[1] if found else platform.system()


def memory_mb() -> int:
    """Return the memory in MB of 10^6 bytes, 0 where it cannot be read."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 10**6
    except (ValueError, OSError, AttributeError):
        return 0


def env_python() -> Path:
    """Return the path of edgeseg's own Python on this device."""
    return HOME / "env" / "bin" / "python"


def installed_version() -> str:
    """Return the version of edgeseg in its environment here, "" if there is none."""
    if not env_python().exists():
        return ""
    command = [str(env_python()), "-c", "import edgeseg; print(edgeseg.__version__)"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    return done.stdout.decode().strip()


def place(name: str) -> Path:
    """Return the path of a name below ~/.edgeseg; refuses any other."""
    return below(HOME, name)


def below(folder: Path, name: str) -> Path:
    """Return the path of a name below a folder; refuses any other."""
    path = Path(os.path.normpath(str(folder / name)))
    if folder not in path.parents:
        raise Failure(f"{name} is not inside {folder}")
    return path


def has(name: str) -> dict[str, object]:
    """Return whether a pushed folder is here; one that is here is complete."""
    return {"has": place(name).is_dir(), "path": str(place(name))}


def prepare(name: str) -> dict[str, object]:
    """Return the path of an output, its folder made."""
    place(name).parent.mkdir(parents=True, exist_ok=True)
    return {"path": str(place(name))}


def receive(name: str, files: str, size: str) -> dict[str, object]:
    """Unpack a tar stream from stdin into a folder that is renamed into place once all of it is there."""
    target = place(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    tidy(target.parent)
    free = shutil.disk_usage(str(target.parent)).free
    if free < int(size):
        raise OSError(errno.ENOSPC, f"{free // 10**6} MB are free, {int(size) // 10**6 + 1} MB are needed")
    partial = partial_folder(target)
    try:
        count, written = unpack(partial)
        if (count, written) != (int(files), int(size)):
            raise Failure(f"the transfer ended early: {written} of {size} bytes arrived")
        try:
            partial.rename(target)
        except OSError:
            if not target.is_dir():  # another desk was faster
                raise
    finally:
        shutil.rmtree(str(partial), ignore_errors=True)
    return {"path": str(target)}


def unpack(folder: Path) -> tuple[int, int]:
    """Return the number of files and bytes unpacked from stdin."""
    count = written = 0
    with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as stream:
        for member in stream:
            content = stream.extractfile(member) if member.isfile() else None
            if content is None:
                raise Failure(f"the transfer holds {member.name!r}, which is not a plain file")
            path = below(folder, member.name)
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as out:
                shutil.copyfileobj(content, out, 1 << 20)
                out.flush()
                os.fsync(out.fileno())
            count += 1
            written += member.size
    return count, written


def partial_folder(target: Path) -> Path:
    """Return a new folder beside `target`, for what is not whole yet."""
    return Path(tempfile.mkdtemp(prefix=target.name + ".", suffix=UNFINISHED, dir=str(target.parent)))


def tidy(parent: Path) -> None:
    """Delete what stopped transfers and installations left more than an hour ago."""
    for entry in parent.iterdir():
        if entry.name.endswith(UNFINISHED) and time.time() - entry.lstat().st_mtime > LEFT_OVER_S:
            shutil.rmtree(str(entry), ignore_errors=True)


def install(wheels: str, requirement: str) -> dict[str, object]:
    """Make an environment from the wheels in a pushed folder, and put it in the place of the one before."""
    source = place(wheels)
    # Another name than the one in use: the link must never point at a folder that is half deleted.
    final = HOME / "envs" / f"{source.name}-{int(time.time() * 1000)}"
    final.parent.mkdir(parents=True, exist_ok=True)
    tidy(final.parent)
    pip = next(iter(source.glob("pip-*.whl")), None)
    if pip is None:
        raise Failure("there is no pip among the wheels")
    partial = partial_folder(final)
    try:
        call([sys.executable, "-m", "venv", "--without-pip", str(partial)])
        call(
            [str(partial / "bin" / "python"), str(pip / "pip"), "--disable-pip-version-check", "install", "--quiet",
             "--no-index", "--no-compile", "--no-cache-dir", "--find-links", str(source), requirement]
        )  # fmt: skip
        envs = hold(final.parent, fcntl.LOCK_EX)  # another desk may be as far: its environment is not a former one
        try:
            partial.rename(final)
            switch(final)
        finally:
            os.close(envs)
    finally:
        shutil.rmtree(str(partial), ignore_errors=True)
    return {"python": str(env_python()), "edgeseg": installed_version()}


def switch(final: Path) -> None:
    """Put an environment in use, and delete the former ones, except those in which something still runs."""
    fresh = HOME / ("env" + UNFINISHED)
    with contextlib.suppress(FileNotFoundError):
        fresh.unlink()
    fresh.symlink_to(final)
    fresh.replace(HOME / "env")
    for entry in final.parent.iterdir():
        if entry == final or entry.name.endswith(UNFINISHED):
            continue
        with contextlib.suppress(OSError):
            handle = hold(entry, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(str(entry), ignore_errors=True)
            os.close(handle)


def hold(folder: Path, how: int) -> int:
    """Return a handle that locks a folder until it is closed, or until this process ends."""
    handle = os.open(str(folder), os.O_RDONLY)
    try:
        fcntl.flock(handle, how)
    except BlockingIOError:
        os.close(handle)
        raise
    except OSError:
        pass  # a network file system without locks
    return handle


def python_in_use() -> Path:
    """Return the Python of the environment in use, which then stays for as long as this process, whatever is installed.

    By its own path: through the link, a program would find the modules of the next installation.
    """
    while True:
        env = (HOME / "env").resolve()
        if not env.is_dir():
            return env_python()
        try:
            handle = hold(env, fcntl.LOCK_SH)
        except FileNotFoundError:
            continue
        if env == (HOME / "env").resolve() and env.is_dir():
            return env / "bin" / "python"
        os.close(handle)


def call(command: list[str]) -> None:
    """Run a command until it ends or stdin does; the last line that it prints is the error where it fails."""
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )
    threading.Thread(target=watch, args=(child,), daemon=True).start()
    printed = child.communicate()[0]
    if not child.returncode:
        return
    lines = printed.decode(errors="replace").strip().splitlines() or ["no message"]
    full = next((line for line in lines if "No space left" in line or "File too large" in line), None)
    if full is not None:
        raise OSError(errno.ENOSPC, full.strip()[:200])
    raise Failure(f"{Path(command[0]).name} failed: {lines[-1][:300]}")


def send(name: str) -> int:
    """Write an output of a verb as a tar stream to stdout; return 1 if there is none."""
    found = place(name)
    if not found.exists():
        return 1
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as stream:
        stream.add(str(found), arcname=found.name)
    return 0


def run(arguments: list[str]) -> int:
    """Run a program until it ends or stdin does: a desk that goes away, or Ctrl-C there, leaves no process here."""
    child = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, start_new_session=True)
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop(child))
    threading.Thread(target=watch, args=(child,), daemon=True).start()
    status = child.wait()
    kill_group(child, signal.SIGKILL)
    return status if status >= 0 else 128 - status


def watch(child: subprocess.Popen[bytes]) -> None:
    """Stop the child when stdin ends."""
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    if child.poll() is None:
        stop(child)


def stop(child: subprocess.Popen[bytes]) -> None:
    """Interrupt a child and all that it started; kill them if they do not end in time."""
    kill_group(child, signal.SIGINT)
    end = time.monotonic() + GRACE_S
    while time.monotonic() < end and child.poll() is None:
        time.sleep(0.05)
    kill_group(child, signal.SIGKILL)


def kill_group(child: subprocess.Popen[bytes], number: int) -> None:
    """Send a signal to the child's process group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)


def forget(name: str) -> dict[str, object]:
    """Delete one thing in ~/.edgeseg."""
    shutil.rmtree(str(place(name)), ignore_errors=True)
    return {}


def purge() -> dict[str, object]:
    """Delete ~/.edgeseg."""
    shutil.rmtree(str(HOME), ignore_errors=True)
    return {"path": str(HOME)}


COMMANDS = {
    "probe": probe, "has": has, "prepare": prepare, "receive": receive, "install": install, "forget": forget,
    "purge": purge,
}  # fmt: skip


def main(arguments: list[str]) -> int:
    """Run one command and print its result."""
    command, rest = arguments[0], arguments[1:]
    if command == "run":
        return run([str(python_in_use()) if item == "@python" else item for item in rest])
    try:
        if command == "send":
            return send(*rest)
        print(json.dumps(COMMANDS[command](*rest)))  # type: ignore[operator]
    except Failure as error:
        return report(str(error))
    except tarfile.TarError:
        return report("the transfer ended early")
    except OSError as error:
        text = error.strerror or str(error)
        text = f"its disk is full: {text}" if error.errno in DISK_FULL else text
        return report(f"{error.filename}: {text}" if error.filename else text)
    return 0


def report(text: str) -> int:
    """Print an error and return the exit status."""
    print(json.dumps({"error": text}))
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
