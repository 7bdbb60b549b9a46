"""Keeps freed memory in the process: a step's buffers are then there again at the next step.

By default glibc returns large buffers to the system, and the page faults of getting them anew take
as long as the computing itself (measured: a step of the codec from 800 to 450 ms of a core).
"""

import contextlib
import ctypes

# glibc's malloc.h: the option's number, and its value.
_OPTIONS = {
    "M_ARENA_MAX": (-8, 1),  # other arenas than the main one cannot hold large buffers
    "M_MMAP_THRESHOLD": (-3, 2**31 - 1),
    "M_TRIM_THRESHOLD": (-1, 2**31 - 1),
    "M_TOP_PAD": (-2, 2**28),
}


def keep() -> None:
    """Call before the first computation. Does nothing where there is no glibc."""
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for number, value in _OPTIONS.values():
            mallopt(number, value)
