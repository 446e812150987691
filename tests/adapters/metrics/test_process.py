"""Numbers of the process: of all workers, and cheap."""

from __future__ import annotations

from pathlib import Path

import pytest

from livepeer_remote_signer.adapters.metrics import Metrics, Slots, process
from tests.prometheus_text import Metric, parse_metrics


def scrape(metrics: Metrics) -> dict[str, Metric]:
    """What Prometheus reads."""
    return parse_metrics(metrics.render())


def test_cpu_memory_and_files_are_those_of_all_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_cpu_seconds", lambda: 2.5)
    monkeypatch.setattr(process, "_resident_bytes", lambda: 1000.0)
    monkeypatch.setattr(process, "_open_files", lambda: 7.0)
    workers = [Metrics(Slots(tmp_path)) for _ in range(2)]
    for worker in workers:
        process.add_process_metrics(worker, "1.2.3")
        worker.settle()
    for worker in workers:
        read = scrape(worker)
        assert read["process_cpu_seconds_total"].value() == 5.0
        assert read["process_cpu_seconds_total"].kind == "counter"
        assert read["process_resident_memory_bytes"].value() == 2000
        assert read["process_open_fds"].value() == 14
    workers[1].slots.close()
    read = scrape(workers[0])
    assert read["process_cpu_seconds_total"].value() == 5.0
    assert read["process_resident_memory_bytes"].value() == 1000


def test_the_age_is_that_of_the_youngest_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workers = [Metrics(Slots(tmp_path)) for _ in range(2)]
    for started, worker in zip((300.0, 200.0), workers, strict=True):
        monkeypatch.setattr("time.time", lambda started=started: started)
        process.add_process_metrics(worker, "1.2.3")
    assert [scrape(worker)["process_start_time_seconds"].value() for worker in workers] == [300, 300]


def test_open_files_are_listed_every_few_seconds_not_with_every_look(monkeypatch: pytest.MonkeyPatch) -> None:
    now, looks = [100.0], [0]

    def count() -> float:
        looks[0] += 1
        return float(looks[0])

    monkeypatch.setattr("time.monotonic", lambda: now[-1])
    monkeypatch.setattr(process, "_open_files", count)
    metrics = Metrics()
    process.add_process_metrics(metrics, "1.2.3")
    known = {scrape(metrics)["process_open_fds"].value() for _ in range(5)}
    assert len(known) == 1
    now.append(100.0 + process.LOOK_SECONDS)
    assert scrape(metrics)["process_open_fds"].value() == known.pop() + 1


def test_where_there_is_no_proc_nothing_is_said_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_resident_bytes", lambda: None)
    monkeypatch.setattr(process, "_open_files", lambda: None)
    metrics = Metrics()
    process.add_process_metrics(metrics, "1.2.3")
    assert not {"process_resident_memory_bytes", "process_open_fds"} & scrape(metrics).keys()
