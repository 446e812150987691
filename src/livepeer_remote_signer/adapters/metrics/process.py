"""What Prometheus' own clients tell of a process, read from /proc where there is one."""

from __future__ import annotations

import os
import resource
import time

from livepeer_remote_signer.adapters.metrics.registry import Metrics


def add_process_gauges(metrics: Metrics, version: str) -> None:
    """CPU time, memory, open files and age of the worker that is asked; and which version runs."""
    started = time.time()
    metrics.gauge("livepeer_signer_build_info", "1, labelled with the version.", lambda: {(version,): 1.0}, ("version",))
    metrics.gauge("process_start_time_seconds", "Start of this worker, unix seconds.", lambda: started)
    metrics.gauge("process_cpu_seconds_total", "CPU time of this worker.", _cpu_seconds, kind="counter")
    metrics.gauge("process_resident_memory_bytes", "Memory of this worker.", _resident_bytes)
    metrics.gauge("process_open_fds", "Open files and connections of this worker.", _open_files)


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
