"""Processor, memory and signals of the operating system. Imports no torch, so that worker processes start quickly."""

import contextlib
import ctypes
import os
import platform
import signal
import sys


def cpu_name() -> str:
    """Return the processor's name as the operating system reports it."""
    if sys.platform == "linux":
        with open("/proc/cpuinfo") as f:
            for line in f:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def keep_freed_memory() -> None:
    """Let glibc keep large freed buffers instead of returning them to the kernel after every step.

    A training step on a CPU frees and allocates hundreds of MB; taking them from the kernel again costs a page fault
    per 4 KiB. With other C libraries this does nothing.
    """
    trim_threshold, mmap_threshold = -1, -3  # from malloc.h
    _glibc("mallopt", mmap_threshold, 2**30)
    _glibc("mallopt", trim_threshold, 2**31 - 1)


def return_freed_memory() -> None:
    """Return freed memory to the kernel, so that the memory in use can be measured."""
    _glibc("malloc_trim", 0)


def _glibc(function: str, *arguments: int) -> None:
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):  # musl has neither function
        getattr(ctypes.CDLL(None), function)(*arguments)


AT_ONCE = 2**28  # bytes that are worked on at once


def batch_of(bytes_each: int, most: int) -> int:
    """Return how many things of so many bytes to work on at once, 1 to `most`, so that memory is bounded by bytes."""
    return max(1, min(most, AT_ONCE // max(bytes_each, 1)))


def cores() -> int:
    """Return the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
