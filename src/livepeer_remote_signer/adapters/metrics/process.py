"""What Prometheus' own clients tell of a process, read from /proc where there is one."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable

from livepeer_remote_signer.adapters.metrics.registry import Metrics

LOOK_SECONDS = 5.0
"""Listing some thousand open connections takes milliseconds, and payments wait meanwhile."""


def add_process_metrics(metrics: Metrics, version: str) -> None:
    """CPU time, memory and open files of all workers, their age, and which version runs."""
    started = time.time()
    metrics.gauge("livepeer_signer_build_info", "1, labelled with the version.", lambda: {(version,): 1.0}, ("version",))
    youngest = metrics.level("process_start_time_seconds", "Start of the youngest worker, unix seconds.", merge="most")
    youngest.set(started)
    metrics.follow(metrics.counter("process_cpu_seconds_total", "CPU time of all workers, also of those that ended."), _cpu_seconds)
    for name, text, read in (
        ("process_resident_memory_bytes", "Memory of all workers; what they share counts once for each.", _resident_bytes),
        ("process_open_fds", "Open files and connections of all workers.", _open_files),
    ):
        if read() is not None:
            metrics.follow(metrics.level(name, text), _now_and_then(read))


def _now_and_then(read: Callable[[], float | None]) -> Callable[[], float]:
    """`read` at most once in LOOK_SECONDS; between that what it told last."""
    value, due = 0.0, 0.0

    def told() -> float:
        nonlocal value, due
        now = time.monotonic()
        if now >= due:
            seen, due = read(), now + LOOK_SECONDS
            value = value if seen is None else seen
        return value

    return told


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _resident_bytes() -> float | None:
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:
        return None


def _open_files() -> float | None:
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return None
