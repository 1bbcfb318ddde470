"""Signals that end a process do so soon, whatever it is doing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest
from contracts.unmeasured import unmeasured

from edgeseg.core.interrupt import HeldInterrupt, ending_in_time, endings, signals_as_interrupt

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")

# One call of a library that releases the lock of the interpreter and takes minutes. The word comes from a second thread
# when the first has long been within that call: a signal that arrives before it is Python's own to notice.
BUSY = """
import hashlib, threading
from edgeseg.core.interrupt import ending_in_time, signals_as_interrupt
with ending_in_time(0.2), signals_as_interrupt():
    threading.Timer(0.5, lambda: print("busy", flush=True)).start()
    hashlib.pbkdf2_hmac("sha256", b"a", b"b", 2_000_000_000)
"""

# The same within a verb.
VERB = """
import hashlib, threading
from edgeseg.cli import main, models
def busy(options):
    threading.Timer(0.5, lambda: print("busy", flush=True)).start()
    hashlib.pbkdf2_hmac("sha256", b"a", b"b", 2_000_000_000)
models.run = busy
main.main(["models"])
"""

# A training step: its backward pass is one call, and its end is worth the wait. No signal interrupts a locked mutex.
HELD = """
import ctypes, threading
from edgeseg.core.interrupt import HeldInterrupt, ending_in_time, signals_as_interrupt
libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)
libc.pthread_mutex_lock(mutex)
threading.Thread(target=lambda: (input(), libc.pthread_mutex_unlock(mutex)), daemon=True).start()
with ending_in_time(0.2), signals_as_interrupt(), HeldInterrupt() as held:
    threading.Timer(0.5, lambda: print("busy", flush=True)).start()
    libc.pthread_mutex_lock(mutex)
print("saved" if held.wanted else "nothing", flush=True)
"""


def child_of(code: str) -> subprocess.Popen[str]:
    """Return a process that has just printed that it is busy."""
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=unmeasured(),
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "busy\n"
    return child


@pytest.mark.parametrize(
    ("code", "number"),
    [
        *(pytest.param(BUSY, number, id=number.name) for number in endings()),
        pytest.param(VERB, signal.SIGTERM, id="verb"),
    ],
)
def test_a_call_that_does_not_return_is_ended(code: str, number: signal.Signals) -> None:
    with child_of(code) as child:
        try:
            child.send_signal(number)
            _, words = child.communicate(timeout=60)
        finally:
            child.kill()
    assert (child.returncode, words) == (130, "edgeseg: interrupted.\n")


@pytest.mark.skipif(sys.platform != "linux", reason="a mutex of zeros is Linux's own")
def test_a_step_that_must_end_whole_is_waited_for() -> None:
    with child_of(HELD) as child:
        try:
            child.send_signal(signal.SIGINT)
            with pytest.raises(subprocess.TimeoutExpired):
                child.wait(timeout=1)
            words, _ = child.communicate("go on\n", timeout=60)
        finally:
            child.kill()
    assert (child.returncode, words) == (0, "saved\n")


@pytest.mark.skipif(sys.platform != "linux", reason="a mutex of zeros is Linux's own")
def test_a_second_signal_does_not_wait_for_the_step() -> None:
    with child_of(HELD) as child:
        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                child.send_signal(number)
            # Not `communicate`: its end of input would let the step end.
            assert child.wait(timeout=60) == 130
        finally:
            child.kill()


@pytest.mark.parametrize("number", endings())
def test_a_signal_that_is_noticed_raises_and_ends_nothing(number: signal.Signals) -> None:
    before = {each: signal.getsignal(each) for each in endings()}
    threads = threading.active_count()
    with ending_in_time(60):
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt), signals_as_interrupt():
                os.kill(os.getpid(), number)
        with signals_as_interrupt(), HeldInterrupt() as held:
            os.kill(os.getpid(), number)
        assert held.wanted
    assert {each: signal.getsignal(each) for each in endings()} == before
    assert threading.active_count() == threads


def test_a_second_signal_raises_where_the_first_was_held() -> None:
    with HeldInterrupt() as held:
        os.kill(os.getpid(), signal.SIGINT)
        assert held.wanted
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)


def test_an_ignored_hangup_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals_as_interrupt(), HeldInterrupt() as held:
            os.kill(os.getpid(), signal.SIGHUP)
        assert not held.wanted
    finally:
        signal.signal(signal.SIGHUP, before)
