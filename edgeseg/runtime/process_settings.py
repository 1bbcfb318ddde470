"""Process-wide settings: heaps, for good; thread switching, OpenCV's cores and signals while a loop runs."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING

from edgeseg.core.cpu_cores import usable_cores
from edgeseg.core.interrupt import endings, notice_ending, raise_interrupt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

SWITCH_S = 0.0001
NICER = 5
"""Nice values that the stages around the engine are above it: a third of its share of a core that both want."""
M_ARENA_MAX = -8
M_MMAP_THRESHOLD = -3
M_TRIM_THRESHOLD = -1
"""mallopt(3)'s parameter numbers: the most heaps, the size from which memory is mapped, the free memory kept."""
LARGEST_KEPT = 32 << 20
"""Larger blocks go back to the system when freed: more than a 4K image has; also glibc's limit for the threshold."""


@contextlib.contextmanager
def cores_left_to_engine(threads: int) -> Iterator[None]:
    """Keep OpenCV to the cores that the engine does not use, at least one: its own pool would take them all."""
    import cv2

    before = cv2.getNumThreads()
    cv2.setNumThreads(max(1, usable_cores() - threads))
    try:
        yield
    finally:
        cv2.setNumThreads(before)


@contextlib.contextmanager
def quick_thread_switches() -> Iterator[None]:
    """Let the engine's thread get the interpreter lock quickly: by default it may wait for 5 ms."""
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_S)
    try:
        yield
    finally:
        sys.setswitchinterval(before_s)


def share_one_heap() -> None:
    """Let threads that start from now on share the existing heap, which keeps the memory of images (glibc; for good).

    By default each thread has its own heap. A frame is allocated in one thread and freed in another, which fragments
    all heaps, and a process that runs for days grows. Also by default, an image's memory goes back to the system with
    each frame, and the next one faults in every page again: 2 ms of a 1920x1080 frame. See mallopt(3).
    """
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError):  # another C library
            mallopt = ctypes.CDLL(None).mallopt
            mallopt(M_ARENA_MAX, 1)
            mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)
            mallopt(M_TRIM_THRESHOLD, 2 * LARGEST_KEPT)


def make_way() -> None:
    """Let the calling thread leave cores to the engine: it is nicer, and preempts nothing when it wakes (Linux).

    On two cores the engine otherwise shares its own with the stages around it, and they do not fill the other one. See
    sched(7); Linux has a nice value and a policy for each thread. Elsewhere, and where a sandbox forbids it, nothing is
    changed.
    """
    if hasattr(os, "SCHED_BATCH"):
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
            os.setpriority(os.PRIO_PROCESS, 0, min(19, os.getpriority(os.PRIO_PROCESS, 0) + NICER))


@contextlib.contextmanager
def ending_signals(interrupt: Callable[[], None]) -> Iterator[None]:
    """Call `interrupt` on the first Ctrl-C, SIGTERM or SIGHUP instead of raising in a write; the next acts as before.

    Python allows this in the main thread only; elsewhere nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in endings()}

    def end(number: int, _frame: FrameType | None) -> None:
        notice_ending()
        interrupt()
        signal.signal(number, before[signal.Signals(number)])

    for number, handler in before.items():
        # Handlers set by the caller and ignored signals are left alone.
        if handler in (signal.default_int_handler, signal.SIG_DFL, raise_interrupt):
            signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)
