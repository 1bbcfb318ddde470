"""Signals that end a process do so soon, whatever it is doing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

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


@pytest.mark.parametrize("number", endings())
def test_a_call_that_does_not_return_is_ended(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", BUSY], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "busy\n"
            child.send_signal(number)
            _, words = child.communicate(timeout=60)
        finally:
            child.kill()
    assert (child.returncode, words) == (130, "edgeseg: interrupted.\n")


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


def test_an_ignored_hangup_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals_as_interrupt(), HeldInterrupt() as held:
            os.kill(os.getpid(), signal.SIGHUP)
        assert not held.wanted
    finally:
        signal.signal(signal.SIGHUP, before)
