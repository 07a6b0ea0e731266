"""The operating system: processor, memory and signals. It imports no torch, so that worker processes start quickly."""

import contextlib
import ctypes
import os
import platform
import signal
import sys


def cpu_name() -> str:
    """Return the processor's name as the system states it."""
    if sys.platform == "linux":
        with open("/proc/cpuinfo") as f:
            for line in f:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def keep_freed_memory() -> None:
    """Let glibc keep large freed buffers instead of returning them to the kernel after every step.

    A CPU training step frees and takes hundreds of MB; getting them from the kernel again costs a page fault for
    each 4 KiB. Other C libraries ignore this.
    """
    trim_threshold, mmap_threshold = -1, -3  # from malloc.h
    _glibc("mallopt", mmap_threshold, 2**30)
    _glibc("mallopt", trim_threshold, 2**31 - 1)


def return_freed_memory() -> None:
    """Give what has been freed back to the kernel, so that the memory that is used can be measured."""
    _glibc("malloc_trim", 0)


def _glibc(function: str, *arguments: int) -> None:
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):  # musl
        getattr(ctypes.CDLL(None), function)(*arguments)


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
