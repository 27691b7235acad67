"""Keeping freed memory, which the commands that run a network switch on before torch is imported.

glibc unmaps every large block when it is freed and faults it in again, zeroed, for the next tensor. Keeping the
memory makes training on a CPU 1.25 to 1.5 times as fast, at the price that peak memory is not given back while the
command runs. A program that imports the library decides for itself; only the command does this.
"""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
"""Numbers of glibc's malloc.h."""


def keep_memory() -> None:
    """Makes glibc keep what is freed; does nothing where there is no glibc."""
    if sys.platform != "linux":
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(M_TOP_PAD, 64 << 20)
