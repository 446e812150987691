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
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, NamedTuple

import coverage
import pytest

from tests.mutants.mutations import Mutant

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src/livepeer_remote_signer"
MAP = ROOT / "build/mutants/map.pickle"
FAULTS = ROOT / "build/mutants/fault.txt"
"""What went wrong in a fork the last time, other than a test."""

MOST_SECONDS = 25.0
"""Of tests for one mutant, by what they took when nothing was wrong."""

PATIENCE = 8.0
"""How many times longer a mutant's tests may take before they count as hanging: machines are busy."""


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

    def __init__(self, mutants: Sequence[Mutant], tell: Any) -> None:
        self._mutants = mutants
        self._tell = tell
        self.outcomes: list[Outcome] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if session.testsfailed:
            raise session.Interrupted(f"{session.testsfailed} errors during collection")
        items = {item.nodeid: item for item in session.items}
        touches = load_map(session.items)
        for mutant in self._mutants:
            outcome = self._try(mutant, items, touches)
            self.outcomes.append(outcome)
            self._tell(outcome)
        return True

    def _try(self, mutant: Mutant, items: dict[str, pytest.Item], touches: Touches) -> Outcome:
        named = touches.tests.get((mutant.path, mutant.line), [])
        chosen, seconds = [], 0.0
        for name in sorted(named, key=lambda name: touches.seconds[name]):
            if name in items and seconds < MOST_SECONDS:
                chosen.append(items[name])
                seconds += touches.seconds[name]
        if not chosen:
            return Outcome(mutant, "untouched", 0)
        return Outcome(mutant, in_fork(lambda: _run_mutant(mutant, chosen), 30 + PATIENCE * seconds), len(chosen))


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


def in_fork(work: Any, seconds: float) -> str:
    """What `work` returns in a process of its own; `hung` when it takes longer. Whatever it has started ends with it."""
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
                word = work()
            except Exception:  # noqa: BLE001 - told to whoever looks; a test that breaks the runner has noticed something
                FAULTS.parent.mkdir(parents=True, exist_ok=True)
                FAULTS.write_text(traceback.format_exc())
            os.write(writing, word.encode())
        os._exit(0)
    os.close(writing)
    with suppress(OSError):
        os.setpgid(child, child)
    ready, _, _ = select.select([reading], [], [], seconds)
    word = os.read(reading, 64).decode() if ready else "hung"
    os.close(reading)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return word or "noticed"


def load_map(items: Sequence[pytest.Item]) -> Touches:
    """Which tests touch which lines: from the last run, if neither source nor tests have changed."""
    key = _tree_digest(items)
    if MAP.exists():
        kept_key, touches = pickle.loads(MAP.read_bytes())
        if kept_key == key:
            return Touches(*touches)
    MAP.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    print(f"noting which of {len(items)} tests touches which line", flush=True)
    assert in_fork(lambda: _make_map(items, key), 7200) == "made", (
        f"the first run did not end: {FAULTS.read_text() if FAULTS.exists() else ''}"
    )
    print(f"noted in {time.monotonic() - began:.0f} s", flush=True)
    return Touches(*pickle.loads(MAP.read_bytes())[1])


def _tree_digest(items: Sequence[pytest.Item]) -> str:
    digest = hashlib.sha256()
    for path in sorted([*SOURCE.rglob("*.py"), *(ROOT / "tests").rglob("*.py")]):
        digest.update(path.read_bytes())
    digest.update("\n".join(item.nodeid for item in items).encode())
    return digest.hexdigest()


def _make_map(items: Sequence[pytest.Item], key: str) -> str:
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
    MAP.write_bytes(pickle.dumps((key, tuple(Touches(tests, seconds)))))
    return "made"
