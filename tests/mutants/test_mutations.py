"""The changes that are made, on a piece of source of ours."""

from __future__ import annotations

import ast
import time
from pathlib import Path
from typing import Any

from tests.mutants.mutations import find_mutants
from tests.mutants.running import Work, in_forks, replace_code

SOURCE = '''
LIMIT = 3

def check(value, is_new):
    """A word."""
    _log.info("%d", value + 1)
    kept: int = value + LIMIT
    if value > LIMIT and not is_new:
        raise ValueError(f"{value + 1} is above")
    return min(kept, LIMIT)
'''
CONDITION = "value > LIMIT and (not is_new)"
RAISE = "raise ValueError(f'{value + 1} is above')"


def test_every_kind_of_change_is_made_and_what_only_speaks_is_left_alone() -> None:
    assert {(mutant.old, mutant.new) for mutant in find_mutants("a.py", SOURCE)} == {
        ("value > LIMIT", "value >= LIMIT"),
        (CONDITION, "value > LIMIT or not is_new"),
        (CONDITION, "not is_new"),
        (CONDITION, "value > LIMIT"),
        ("not is_new", "is_new"),
        (f"if {CONDITION}: {RAISE}", f"if True: {RAISE}"),
        (f"if {CONDITION}: {RAISE}", f"if False: {RAISE}"),
        (RAISE, "pass"),
        ("value + LIMIT", "value - LIMIT"),
        ("min(kept, LIMIT)", "max(kept, LIMIT)"),
    }


def test_each_mutant_is_the_whole_file_with_one_change() -> None:
    for mutant in find_mutants("a.py", SOURCE):
        changed = ast.unparse(mutant.changed())
        assert changed != ast.unparse(ast.parse(SOURCE))
        assert "def check(value, is_new):" in changed
        compile(mutant.changed(), "a.py", "exec")


def test_a_name_stays_the_same_when_lines_move() -> None:
    assert [mutant.name for mutant in find_mutants("a.py", SOURCE)] == [mutant.name for mutant in find_mutants("a.py", "\n\n" + SOURCE)]


def test_the_code_of_a_live_function_is_replaced() -> None:
    source = SOURCE.replace("    _log", "    # _log")
    place: dict[str, Any] = {}
    exec(compile(source, "a.py", "exec"), place)
    (mutant,) = (mutant for mutant in find_mutants("a.py", source) if mutant.new == "max(kept, LIMIT)")
    assert place["check"](1, True) == 3
    assert replace_code("a.py", mutant.changed()) == 1
    assert place["check"](1, True) == 4


def test_so_many_forks_live_at_a_time_and_one_that_hangs_is_ended(tmp_path: Path) -> None:
    def together() -> str:
        """Ends once another one is here too."""
        (tmp_path / str(time.perf_counter_ns())).touch()
        while len(list(tmp_path.iterdir())) < 2:
            time.sleep(0.01)
        return "met"

    def forever() -> str:
        while True:
            time.sleep(60)

    def failing() -> str:
        raise ValueError

    works = {"one": Work(together, 60), "other": Work(together, 60), "third": Work(forever, 0.1), "fourth": Work(failing, 60)}
    assert dict(in_forks(works, 2)) == {"one": "met", "other": "met", "third": "hung", "fourth": "noticed"}
