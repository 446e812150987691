"""The wall clock of a process under test: the host's, shifted by the seconds in the file that LRS_CHAOS_CLOCK names.

On the PYTHONPATH of the signer it is imported before anything else, in every worker. Monotonic time is left alone, as it is
when a host's clock is set.
"""

import mmap
import os
import struct
import time

with open(os.environ["LRS_CHAOS_CLOCK"], "r+b") as file:
    shared = mmap.mmap(file.fileno(), 8)

real_time_ns = time.time_ns


def time_ns() -> int:
    """Unix nanoseconds, shifted."""
    return real_time_ns() + struct.unpack("<q", shared[:8])[0] * 10**9


time.time_ns = time_ns
time.time = lambda: time_ns() / 1e9
