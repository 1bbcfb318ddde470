"""What compiled code writes goes to the log, and the descriptors are put back, whoever shared them."""

from __future__ import annotations

import logging
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edgeseg.core.silence import native_output

log = logging.getLogger("edgeseg.test")


def files() -> list[tuple[int, int]]:
    """Return which files descriptors 1 and 2 are."""
    return [(found.st_dev, found.st_ino) for found in (os.fstat(1), os.fstat(2))]


def descriptors() -> int:
    """Return how many are open, on Linux."""
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


def test_words_from_below_go_to_the_log(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    with caplog.at_level(logging.DEBUG, logger="edgeseg.test"):
        with native_output(log):
            os.write(1, b"one\n")
            os.write(2, b"two\n")
        os.write(1, b"three\n")
    assert caplog.messages == ["one", "two"]
    assert capfd.readouterr() == ("three\n", "")


def test_an_error_puts_the_descriptors_back(caplog: pytest.LogCaptureFixture) -> None:
    before = files()

    def fail() -> None:
        with native_output(log):
            os.write(2, b"why\n")
            raise KeyError

    with caplog.at_level(logging.DEBUG, logger="edgeseg.test"), pytest.raises(KeyError):
        fail()
    assert files() == before
    assert caplog.messages == ["why"]


def test_two_threads_that_overlap_leave_the_descriptors_as_they_were() -> None:
    before, opened = files(), descriptors()
    first_in, second_in, first_out = (threading.Event() for _ in range(3))

    def first() -> None:
        with native_output(log):
            first_in.set()
            assert second_in.wait(10)
        first_out.set()

    def second() -> None:
        assert first_in.wait(10)
        with native_output(log):
            second_in.set()
            assert first_out.wait(10)

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(first), pool.submit(second)]:
            done.result()
    assert files() == before
    assert descriptors() == opened


def test_a_library_that_logs_installs_no_handler_for_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    with native_output(log):
        logging.warning("from a library")
    assert root.handlers == []
