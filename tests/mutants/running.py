"""Runs the tests that touch a line against one mutant at a time, each in a fork of its own."""

from __future__ import annotations

import ast
import gc
import hashlib
import os
import pickle
import resource
import select
import signal
import time
import traceback
import warnings
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import groupby
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, NamedTuple, TypeVar

import coverage
import pytest

from tests.mutants.mutations import Mutant

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SOURCE = ROOT / "src/livepeer_remote_signer"
MAPS = ROOT / "build/mutants"
"""By the digest of source and tests."""

FAULTS = ROOT / "build/mutants/fault.txt"
"""What went wrong in a fork the last time, other than a test."""

PATIENCE = 8.0
"""How many times longer a mutant's tests may take before they count as hanging: machines are busy."""


Named = TypeVar("Named", bound=Hashable)


class Touches(NamedTuple):
    """Which tests (by their node ids) touch which line of which file, and how long each of them takes."""

    tests: dict[tuple[str, int], list[str]]
    seconds: dict[str, float]


class Outcome(NamedTuple):
    """What became of a mutant: `noticed`, `survived`, `untouched` by any test, `hung`, or `unmade` where its code cannot be put in."""

    mutant: Mutant
    verdict: str
    tests: int


def replace_code(path: str, tree: ast.Module) -> int:
    """Puts the changed functions of a file into those that live in this process; how many."""
    live: dict[tuple[str, int], list[FunctionType]] = {}
    for thing in gc.get_objects():
        if type(thing) is FunctionType and thing.__code__.co_filename == path:
            live.setdefault((thing.__code__.co_qualname, thing.__code__.co_firstlineno), []).append(thing)
    replaced = 0
    for code in _codes(compile(tree, path, "exec", dont_inherit=True)):
        for function in live.get((code.co_qualname, code.co_firstlineno), ()):
            if function.__code__ != code:
                function.__code__ = code
                replaced += 1
    return replaced


def _codes(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)


class MutantRun:
    """A pytest plugin that takes over once everything is collected."""

    def __init__(self, mutants: Sequence[Mutant], tell: Callable[[Outcome], None], *, jobs: int, most_seconds: float) -> None:
        """`most_seconds`: of tests for one mutant, by what they took when nothing was wrong."""
        self._mutants = mutants
        self._tell = tell
        self._jobs = jobs
        self._most_seconds = most_seconds
        self.outcomes: list[Outcome] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if session.testsfailed:
            raise session.Interrupted(f"{session.testsfailed} errors during collection")
        items = {item.nodeid: item for item in session.items}
        touches = load_map(session.items, self._jobs)
        tested: dict[Mutant, int] = {}
        works: dict[Mutant, Work] = {}
        for mutant in self._mutants:
            chosen, seconds = _chosen(mutant, items, touches, self._most_seconds)
            tested[mutant] = len(chosen)
            if chosen:
                works[mutant] = Work(partial(_run_mutant, mutant, chosen), 30 + PATIENCE * seconds)
            else:
                self._note(Outcome(mutant, "untouched", 0))
        for mutant, verdict in in_forks(works, self._jobs):
            self._note(Outcome(mutant, verdict, tested[mutant]))
        return True

    def _note(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self._tell(outcome)


def _chosen(mutant: Mutant, items: dict[str, pytest.Item], touches: Touches, most_seconds: float) -> tuple[list[pytest.Item], float]:
    """The tests that touch its line, quickest first, and how long they take together."""
    chosen, seconds = [], 0.0
    for name in sorted(touches.tests.get((mutant.path, mutant.line), []), key=touches.seconds.__getitem__):
        if name in items and seconds < most_seconds:
            chosen.append(items[name])
            seconds += touches.seconds[name]
    return chosen, seconds


def _run_mutant(mutant: Mutant, items: Sequence[pytest.Item]) -> str:
    try:
        if not replace_code(str(SOURCE / mutant.path), mutant.changed()):
            return "unmade"
    except ValueError:  # a name of an outer function is no longer used
        return "unmade"
    return "survived" if all(_passes(items, index) for index in range(len(items))) else "noticed"


def _passes(items: Sequence[pytest.Item], index: int) -> bool:
    item = items[index]
    failed: list[Any] = []

    class Watching:
        @pytest.hookimpl
        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            if report.failed:
                failed.append(report)

    plugin = Watching()
    item.config.pluginmanager.register(plugin)
    try:
        following = items[index + 1] if index + 1 < len(items) else None
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
    finally:
        item.config.pluginmanager.unregister(plugin)
    return not failed


class Work(NamedTuple):
    """What is done in a process of its own, and how long it may take."""

    run: Callable[[], str]
    seconds: float


def in_forks(works: dict[Named, Work], jobs: int) -> Iterator[tuple[Named, str]]:
    """What each work returns, as they end, so many at a time; `hung` when one takes longer. Whatever it has started ends with it."""
    waiting = list(works)[::-1]
    living: dict[int, tuple[Named, int, float]] = {}
    while waiting or living:
        while waiting and len(living) < jobs:
            name = waiting.pop()
            reading, child = _fork(works[name].run)
            living[reading] = (name, child, time.monotonic() + works[name].seconds)
        soonest = min(until for _, _, until in living.values())
        ready, _, _ = select.select(list(living), [], [], max(soonest - time.monotonic(), 0))
        now = time.monotonic()
        for reading, (name, child, until) in list(living.items()):
            if reading in ready or now >= until:
                del living[reading]
                yield name, _ended(reading, child, "" if reading in ready else "hung")


def _fork(run: Callable[[], str]) -> tuple[int, int]:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        os.close(reading)
        with suppress(BaseException):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            word = "noticed"
            try:
                word = run()
            except Exception:  # noqa: BLE001 - told to whoever looks; a test that breaks the runner has noticed something
                FAULTS.parent.mkdir(parents=True, exist_ok=True)
                FAULTS.write_text(traceback.format_exc())
            os.write(writing, word.encode())
        os._exit(0)
    os.close(writing)
    with suppress(OSError):
        os.setpgid(child, child)
    return reading, child


def _ended(reading: int, child: int, word: str) -> str:
    word = word or os.read(reading, 64).decode()
    os.close(reading)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return word or "noticed"


def load_map(items: Sequence[pytest.Item], jobs: int) -> Touches:
    """Which tests touch which lines: from the last run, if neither source nor tests have changed."""
    digest = _tree_digest(items)
    kept = MAPS / f"{digest}.pickle"
    if kept.exists():
        return Touches(*pickle.loads(kept.read_bytes()))
    MAPS.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    print(f"noting which of {len(items)} tests touches which line", flush=True)
    parts = {MAPS / f"{digest}.{number}": part for number, part in enumerate(_parts(items, jobs))}
    works = {path: Work(partial(_make_map, part, path), 7200) for path, part in parts.items()}
    tests: dict[tuple[str, int], list[str]] = {}
    seconds: dict[str, float] = {}
    for path, verdict in in_forks(works, jobs):
        assert verdict == "made", f"the first run did not end: {FAULTS.read_text() if FAULTS.exists() else ''}"
        part = Touches(*pickle.loads(path.read_bytes()))
        path.unlink()
        seconds |= part.seconds
        for line, names in part.tests.items():
            tests.setdefault(line, []).extend(names)
    print(f"noted in {time.monotonic() - began:.0f} s", flush=True)
    kept.write_bytes(pickle.dumps((tests, seconds)))
    return Touches(tests, seconds)


def _parts(items: Sequence[pytest.Item], jobs: int) -> list[list[pytest.Item]]:
    """The tests of each file together, as they share what is set up for it."""
    parts: list[list[pytest.Item]] = [[] for _ in range(jobs)]
    for _, of_file in groupby(items, key=lambda item: item.path):
        min(parts, key=len).extend(of_file)
    return [part for part in parts if part]


def _tree_digest(items: Sequence[pytest.Item]) -> str:
    digest = hashlib.sha256()
    for path in sorted([*SOURCE.rglob("*.py"), *(ROOT / "tests").rglob("*.py")]):
        if path.parent != HERE:
            digest.update(path.read_bytes())
    digest.update("\n".join(item.nodeid for item in items).encode())
    return digest.hexdigest()


def _make_map(items: Sequence[pytest.Item], target: Path) -> str:
    """Runs everything once. Tests that fail by themselves are left out: they would notice anything."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    measuring = coverage.Coverage(data_file=None, source=[str(SOURCE)], messages=False, config_file=False)
    measuring.start()
    seconds: dict[str, float] = {}
    for index, item in enumerate(items):
        measuring.switch_context(item.nodeid)
        began = time.perf_counter()
        if _passes(items, index):
            seconds[item.nodeid] = time.perf_counter() - began
        measuring.switch_context("")
    measuring.stop()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # modules were imported when the tests were collected: their functions count all the same
        data = measuring.get_data()
    tests: dict[tuple[str, int], list[str]] = {}
    for file in data.measured_files():
        path = str(Path(file).relative_to(SOURCE))
        for line, contexts in data.contexts_by_lineno(file).items():
            tests[path, line] = [context for context in contexts if context in seconds]
    target.write_bytes(pickle.dumps((tests, seconds)))
    return "made"
