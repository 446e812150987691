"""Several workers' numbers: added up by any of them, and never lost with a worker."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from livepeer_remote_signer.adapters.metrics import Metrics, Slots
from livepeer_remote_signer.adapters.metrics.slots import MAX_SLOTS, Series, add_series
from tests.prometheus_text import Metric, parse_metrics

WORKER = """
import sys
from pathlib import Path
from livepeer_remote_signer.adapters.metrics import Metrics, Slots
metrics = Metrics(Slots(Path(sys.argv[1])))
counter = metrics.counter("done_total", "Done.", ("who",))
seconds = metrics.histogram("seconds", "Seconds.", (1.0,))
busy = metrics.level("busy", "Busy.")
worst = metrics.level("worst", "Worst.", merge="most")
last = metrics.latest("last", "Last.")
for n in range(int(sys.argv[2])):
    counter.add(1, "all")
    counter.add(1, sys.argv[3])
    seconds.observe_all([0.5])
busy.set(4)
worst.set(int(sys.argv[2]))
last.set(int(sys.argv[2]))
print("ready", flush=True)
sys.stdin.read()
"""


def start_worker(folder: Path, count: int, who: str) -> subprocess.Popen[str]:
    """A worker that counted, and lives until it is told to end."""
    command = [sys.executable, "-c", WORKER, str(folder), str(count), who]
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    assert worker.stdout.readline() == "ready\n"
    return worker


def end(worker: subprocess.Popen[str], how: int) -> None:
    """Ends a worker by a signal, or by the end of its input."""
    if how:
        worker.send_signal(how)
    worker.communicate()


def scrape(folder: Path) -> dict[str, Metric]:
    """What a further worker, which counted nothing, answers."""
    metrics = Metrics(Slots(folder))
    metrics.counter("done_total", "Done.", ("who",))
    metrics.histogram("seconds", "Seconds.", (1.0,))
    metrics.level("busy", "Busy.")
    metrics.level("worst", "Worst.", merge="most")
    metrics.latest("last", "Last.")
    read = parse_metrics(metrics.render())
    metrics.slots.close()
    return read


def test_any_worker_answers_for_all(tmp_path: Path) -> None:
    workers = [start_worker(tmp_path, count, f"w{count}") for count in (100, 20)]
    read = scrape(tmp_path)
    assert read["done_total"].value(who="all") == 120
    assert read["done_total"].value(who="w20") == 20
    assert read["seconds"].value("_count") == 120
    assert read["busy"].value() == 8
    for worker in workers:
        end(worker, 0)


def test_a_dead_workers_counters_stay_and_its_levels_go(tmp_path: Path) -> None:
    end(start_worker(tmp_path, 100, "killed"), signal.SIGKILL)
    living = start_worker(tmp_path, 20, "living")
    end(start_worker(tmp_path, 3, "ended"), 0)
    for _ in range(3):
        read = scrape(tmp_path)
        assert read["done_total"].value(who="all") == 123
        assert read["done_total"].value(who="killed") == 100
        assert read["seconds"].value("_sum") == 61.5
        assert read["busy"].value() == 4
    end(living, 0)
    assert scrape(tmp_path)["done_total"].value(who="all") == 123
    assert scrape(tmp_path)["busy"].value() == 0


def test_the_largest_of_the_living_is_shown_where_levels_do_not_add_up(tmp_path: Path) -> None:
    end(start_worker(tmp_path, 500, "dead"), signal.SIGKILL)
    workers = [start_worker(tmp_path, count, "living") for count in (30, 40, 7)]
    assert scrape(tmp_path)["worst"].value() == 40
    for worker in workers:
        end(worker, 0)


def test_what_was_set_last_is_shown_also_when_all_who_set_it_are_dead(tmp_path: Path) -> None:
    for count in (100, 20, 3):
        end(start_worker(tmp_path, count, "x"), signal.SIGKILL)
    assert scrape(tmp_path)["last"].value() == 3, "the youngest, not the sum"
    living = start_worker(tmp_path, 2, "x")
    assert scrape(tmp_path)["last"].value() == 2, "none of the dead wins over a living worker for ever"
    end(living, 0)


def test_numbers_that_another_version_merged_otherwise_are_passed_over(tmp_path: Path) -> None:
    old = [["last", [], [220.0, 4e9]], ["done_total", ["all"], [5.0]]]
    (tmp_path / "retired.json").write_text(json.dumps({"series": old, "folded": []}), "utf-8")
    assert "last" not in scrape(tmp_path), "a sum of values and times is no last value"
    end(start_worker(tmp_path, 20, "x"), 0)
    read = scrape(tmp_path)
    assert read["last"].value() == 20
    assert read["done_total"].value(who="all") == 25


def test_a_worker_of_a_version_that_names_no_merge_is_added_up(tmp_path: Path) -> None:
    slots = Slots(tmp_path)
    slots.values[slots.allot(("done_total", ("all",)), 1)] = 5
    slots.close()
    (path,) = tmp_path.glob("worker-*")
    path.write_bytes(path.read_bytes().replace(b',0,1,"sum"]\n', b",0,1]      \n"))
    assert scrape(tmp_path)["done_total"].value(who="all") == 5


def test_files_of_the_dead_do_not_pile_up(tmp_path: Path) -> None:
    for _ in range(4):
        end(start_worker(tmp_path, 1, "x"), signal.SIGKILL)
    assert scrape(tmp_path)["done_total"].value(who="x") == 4
    assert scrape(tmp_path)["done_total"].value(who="x") == 4
    assert len(list(tmp_path.glob("worker-*"))) == 1, "the last scraper's own"
    assert len(json.loads((tmp_path / "retired.json").read_text("utf-8"))["folded"]) <= 1, "a name whose file is gone is not needed"


def test_a_crash_while_folding_doubles_nothing(tmp_path: Path) -> None:
    end(start_worker(tmp_path, 5, "x"), signal.SIGKILL)
    (dead,) = tmp_path.glob("worker-*")
    copy = dead.read_bytes()
    assert scrape(tmp_path)["done_total"].value(who="x") == 5
    dead.write_bytes(copy)  # as if the crash came before it was removed
    assert scrape(tmp_path)["done_total"].value(who="x") == 5


def test_a_single_worker_needs_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    metrics = Metrics()
    metrics.counter("x_total", "X.").add(1)
    assert parse_metrics(metrics.render())["x_total"].value() == 1
    assert list(tmp_path.iterdir()) == []


def test_a_file_torn_at_its_birth_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "worker-1-00.slots").write_bytes(b"LRS")
    assert "done_total" not in scrape(tmp_path)


def test_there_is_room_for_far_more_series_than_there_are() -> None:
    assert MAX_SLOTS > 30 * 1000


FULL = """
import resource, sys
from pathlib import Path
from livepeer_remote_signer.adapters.metrics import Metrics, Slots
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
metrics = Metrics(Slots(Path(sys.argv[1])))
counter = metrics.counter("done_total", "Done.", ("who",))
counter.add(3, "all")
print(metrics.render().decode(), end="")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
metrics.keep_shared()
counter.add(4, "all")
"""


@pytest.mark.parametrize("room", [0, 100_000])
def test_a_file_without_room_is_no_file_until_there_is(tmp_path: Path, room: int) -> None:
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path), str(room)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert 'done_total{who="all"} 3' in done.stdout
    assert done.stderr.count("File too large): they are counted in this worker's memory") == 1
    assert scrape(tmp_path)["done_total"].value(who="all") == 7, "what was counted before came along"


def test_the_whole_file_is_there_from_its_birth(tmp_path: Path) -> None:
    slots = Slots(tmp_path)
    (file,) = tmp_path.glob("worker-*")
    assert file.stat().st_blocks * 512 >= file.stat().st_size, "a hole is room that may not be there when it is written to"
    slots.close()


def test_files_that_somebody_removed_are_made_again_with_their_numbers(tmp_path: Path) -> None:
    folder = tmp_path / "shared" / "metrics"
    folder.mkdir(parents=True)
    end(start_worker(folder, 5, "dead"), signal.SIGKILL)
    metrics = Metrics(Slots(folder))
    counter = metrics.counter("done_total", "Done.", ("who",))
    counter.add(2, "mine")
    assert parse_metrics(metrics.render())["done_total"].value(who="dead") == 5
    shutil.rmtree(folder.parent)
    counter.add(1, "mine")
    metrics.keep_shared()
    read = parse_metrics(metrics.render())["done_total"]
    assert (read.value(who="mine"), read.value(who="dead")) == (3, 5)
    assert not folder.parent.exists(), "what ends with the service is not made again by its workers"
    folder.parent.mkdir()
    metrics.keep_shared()
    counter.add(1, "mine")
    read = scrape(folder)["done_total"]
    assert (read.value(who="mine"), read.value(who="dead")) == (4, 5)
    metrics.slots.close()


def test_a_folder_of_another_user_is_neither_read_nor_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    end(start_worker(tmp_path, 5, "x"), signal.SIGKILL)
    before = set(tmp_path.iterdir())
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert "done_total" not in scrape(tmp_path)
    assert set(tmp_path.iterdir()) == before


def test_numbers_of_another_form_are_not_merged() -> None:
    one = Series([1.0, 2.0])
    assert one.has_form_of(Series([3.0, 4.0]))
    assert not one.has_form_of(Series([3.0]))
    assert not one.has_form_of(Series([3.0, 4.0], "most"))
    total = {("a", ()): one}
    add_series(total, {("a", ()): Series([3.0])})
    assert total == {("a", ()): Series([3.0])}
