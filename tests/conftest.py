"""Fixtures that every room's tests share."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest

# One thread a library: tests run side by side, and threads that fight for two cores are slower than none.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

# What tests trust is not remembered on the machine, and what the machine trusts is not trusted in tests.
os.environ["EDGESEG_STATE_DIR"] = tempfile.mkdtemp(prefix="edgeseg-state-")
atexit.register(shutil.rmtree, os.environ["EDGESEG_STATE_DIR"], ignore_errors=True)

# A shell without job control starts background jobs deaf to Ctrl-C, nohup makes them deaf to a hangup, and every child
# inherits that; the tests send both.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


# Where a single module takes up to a minute. They come first, so that two workers end together.
LONG_ROOMS = (
    "compress", "converters", "plugins", "train", "test_faults.py", "verbs", "export", "deploy", "models", "graph",
    "cli",
)  # fmt: skip


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of long.txt, before pytest selects by marker, and put the rooms with long modules first."""
    tests = Path(__file__).parent
    lines = (tests / "long.txt").read_text(encoding="utf-8").splitlines()
    long = {line for line in lines if not line.startswith("#")}
    for item in items:
        if not long.isdisjoint(_places(item.nodeid)):
            item.add_marker("long")

    def place(item: pytest.Item) -> int:
        room = item.path.relative_to(tests).parts[0] if item.path.is_relative_to(tests) else ""
        return LONG_ROOMS.index(room) if room in LONG_ROOMS else len(LONG_ROOMS)

    items.sort(key=place)


def _places(nodeid: str) -> set[str]:
    """Return a test's name without its parameters, and what it lies in: its class, module and folders."""
    path, _, name = nodeid.partition("::")
    name = name.partition("[")[0]
    inside = {f"{path}::{name}", f"{path}::{name.partition('::')[0]}", path}
    return inside | {str(folder) for folder in Path(path).parents}


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images beside the project's checkout; the test is skipped where it is absent."""
    folder = Path(os.environ.get("EDGESEG_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    if not (folder / "camvid" / "classes.txt").is_file():
        pytest.skip("real images are not here: set EDGESEG_TEST_DATA to a folder that holds camvid/")
    return folder
