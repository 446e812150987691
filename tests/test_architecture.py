"""What keeps the parts apart: who may import whom, what the pure core may touch, and that no cause of an error is without a status."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import livepeer_remote_signer
from livepeer_remote_signer.api.errors import STATUSES, error_reply, status_of
from livepeer_remote_signer.core import errors

ROOT = Path(livepeer_remote_signer.__file__).parent
PACKAGE = "livepeer_remote_signer"
MAX_FILE_LINES = 600
MAX_FUNCTION_LINES = 70
MAX_WIRING_LINES = 90
"""`create_app` is one list of parts: cut in two it would be harder to read."""

MAY_IMPORT: dict[str, set[str]] = {
    "proto": set(),
    "core": {"proto"},
    "config": {"core"},
    "service": {"core"},
    "api": {"service", "core"},
    "adapters": {"core", "proto"},
    "wiring": {"service", "api", "adapters", "config", "core"},
    "app": {"wiring", "service", "api", "adapters", "config", "core"},
    "process": {"api", "core"},
    "simulate": {"app", "process", "config", "adapters", "core", "proto"},
    "commands": {"app", "wiring", "process", "config", "adapters", "simulate", "core"},
}
"""By layer. Every layer may import itself and the package's version."""

CORE_MAY_IMPORT = frozenset(
    (
        "__future__",
        "binascii",
        "bisect",
        "collections",
        "collections.abc",
        "dataclasses",
        "datetime",
        "fractions",
        "functools",
        "hashlib",
        "heapq",
        "hmac",
        "ipaddress",
        "itertools",
        "json",
        "math",
        "re",
        "struct",
        "typing",
        "urllib.parse",
        "coincurve",
        "sha3",
        "msgspec",
        "msgspec.structs",
        "google.protobuf.descriptor",
        "google.protobuf.message",
    )
)
"""Nothing of it reads a clock, a random source, a file or a socket, or writes a log."""

FORBIDDEN_CALLS = frozenset(("now", "utcnow", "today", "open", "print", "input", "eval", "exec", "__import__"))

OPTIONAL_PARTS = [
    "web3",
    "grpc",
    "psycopg",
    "aiokafka",
    "jwt",
    "eth_account",
    "opentelemetry.sdk",
    "opentelemetry.exporter",
    "boto3",
    "pkcs11",
]


@dataclass(frozen=True)
class Module:
    """One source file of ours."""

    name: str
    layer: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """Parsed when it is looked at: each process that runs tests collects all of them."""
        return ast.parse(self.text)

    def imports(self) -> Iterator[str]:
        """The dotted names of everything imported, wherever the statement stands."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.name}: imports are absolute"
                assert node.module is not None
                yield node.module
                yield from (f"{node.module}.{alias.name}" for alias in node.names if node.module == PACKAGE)


def layer_of(name: str) -> str:
    """The layer of a module of ours, by its dotted name below the package; "" for the package itself."""
    top = name.split(".")[0]
    if top in ("cli", "__main__"):
        return "commands"
    return top


def _modules() -> Iterator[Module]:
    for path in sorted(ROOT.rglob("*.py")):
        if not path.stem.endswith(("_pb2", "_pb2_grpc")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix("__init__").rstrip(".")
            yield Module(name or "__init__", layer_of(name), path.read_text("utf-8"))


MODULES = list(_modules())
CORE = [module for module in MODULES if module.layer == "core"]
OURS = pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
PURE = pytest.mark.parametrize("module", CORE, ids=lambda module: module.name)


@OURS
def test_imports_run_one_way(module: Module) -> None:
    for imported in module.imports():
        if not imported.startswith(f"{PACKAGE}."):
            continue
        layer = layer_of(imported.removeprefix(f"{PACKAGE}."))
        allowed = MAY_IMPORT.get(module.layer, set()) | {module.layer, "__version__"}
        assert layer in allowed, f"{module.name} ({module.layer}) imports {imported} ({layer})"


@PURE
def test_in_the_core_decisions_stand_on_formats_and_never_the_reverse(module: Module) -> None:
    room = module.name.removeprefix("core").strip(".").split(".")[0]
    allowed = {"protocol": {"protocol", "errors", "known", "recent"}, "rules": {"rules", "protocol", "errors", "known", "recent"}}.get(
        room, {"errors", "known", "recent"}
    )
    for imported in module.imports():
        if imported.startswith(f"{PACKAGE}.core."):
            assert imported.split(".")[2] in allowed, f"{module.name} imports {imported}"


def test_no_files_import_each_other_not_even_for_their_types() -> None:
    names = {".".join((PACKAGE, module.name)).removesuffix(".__init__"): module for module in MODULES}
    arrows: dict[str, set[str]] = {}
    for name, module in names.items():
        arrows[name] = set()
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Import):
                arrows[name].update(alias.name for alias in node.names if alias.name in names)
            elif isinstance(node, ast.ImportFrom) and node.module in names:
                submodules = [f"{node.module}.{alias.name}" for alias in node.names]
                arrows[name].update(submodule if submodule in names else node.module for submodule in submodules)
        arrows[name].discard(name)
    try:
        tuple(TopologicalSorter(arrows).static_order())
    except CycleError as error:
        pytest.fail("a circle of imports: " + " -> ".join(error.args[1]))


COMPOSITION = [module for module in MODULES if module.layer in ("wiring", "app")]


def composed_only_of_constructors(tree: ast.Module) -> Iterator[str]:
    """What in a file of the composition root is more than a call of constructors."""
    for node in ast.walk(tree):
        where = f"line {getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Lambda | ast.While | ast.For | ast.AugAssign | ast.Global | ast.Nonlocal):
            yield f"{where}: {type(node).__name__} decides later, or again"
        elif isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.Yield | ast.YieldFrom):
            yield f"{where}: {type(node).__name__} runs after everything was made"
        elif isinstance(node, ast.FunctionDef) and any(isinstance(inner, ast.FunctionDef) for inner in ast.walk(node) if inner is not node):
            yield f"{where}: {node.name} holds a function of its own"
        elif isinstance(node, ast.FunctionDef) and not node.name.lstrip("_").startswith(("open_", "load_", "create_")):
            yield f"{where}: {node.name} is not named as what opens a part"
        elif isinstance(node, ast.ClassDef) and not (
            [getattr(base, "id", "") for base in node.bases] == ["NamedTuple"]
            and all(isinstance(entry, ast.AnnAssign | ast.Expr) for entry in node.body)
        ):
            yield f"{where}: {node.name} is more than the names of parts"


@pytest.mark.parametrize("module", COMPOSITION, ids=lambda module: module.name)
def test_the_composition_root_holds_constructors_only(module: Module) -> None:
    """What decides, counts, waits or runs belongs to a part; here parts are only made, from values and from each other."""
    assert list(composed_only_of_constructors(module.tree)) == []


@pytest.mark.parametrize(
    "behaviour",
    [
        "def open_a():\n    return lambda: 1",
        "def open_a():\n    def told(): return 1\n    return told",
        "async def open_a(): ...",
        "class Parts(NamedTuple):\n    a: int\n    def checks(self): ...",
        "class Counting:\n    a: int",
        "def describe_a(): ...",
        "def open_a(xs):\n    for x in xs: x.tell()",
    ],
)
def test_what_is_more_than_a_constructor_is_found(behaviour: str) -> None:
    assert list(composed_only_of_constructors(ast.parse(behaviour)))


def test_outside_its_folder_a_database_that_fails_is_a_ledger_that_is_unavailable() -> None:
    named = {module.name for module in MODULES if re.search(r"\bStoreFailed\b", module.text)}
    assert {name for name in named if not name.startswith("adapters.ledger.")} == set()


CALLED_BY_OTHERS = frozenset(("cert_verify", "eof_received", "on_url", "open_connections"))
"""Methods that libraries call, and what the simulated network tells tests of itself."""


def test_nothing_is_kept_that_only_tests_use() -> None:
    words = Counter(word for module in MODULES for word in re.findall(r"\w+", module.text))
    alone = [
        node.name
        for module in MODULES
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and words[node.name] == 1
        and not node.name.startswith("__")
        and not any(isinstance(decorator, ast.Call | ast.Attribute) for decorator in node.decorator_list)  # a route, a validator
    ]
    alone += [
        target.id
        for module in MODULES
        for node in module.tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name) and words[target.id] == 1 and not target.id.startswith("__")
    ]
    assert set(alone) == CALLED_BY_OTHERS


def test_what_the_tests_import_of_the_source_is_there() -> None:
    """Suites that are run seldom would tell of it late."""
    named = {module.name: set(re.findall(r"\w+", module.text)) for module in MODULES}
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(f"{PACKAGE}."):
                module = node.module.removeprefix(f"{PACKAGE}.")
                for alias in node.names:
                    is_there = alias.name in named.get(module, ()) or f"{module}.{alias.name}" in named or alias.name.endswith("_pb2")
                    assert is_there, f"{path}: {module} has no {alias.name}"


def test_every_module_belongs_to_a_layer() -> None:
    assert {module.layer for module in MODULES} - {""} == set(MAY_IMPORT)


def test_only_the_command_line_knows_the_commands_and_the_simulation() -> None:
    for module in MODULES:
        for imported in module.imports():
            name = imported.removeprefix(f"{PACKAGE}.")
            assert name != "cli" or module.name == "__main__", module.name
            assert layer_of(name) != "simulate" or module.layer in ("simulate", "commands"), module.name


@PURE
def test_the_core_imports_nothing_that_reaches_outside(module: Module) -> None:
    others = {name for name in module.imports() if name.split(".")[0] != PACKAGE}
    assert others <= CORE_MAY_IMPORT, others - CORE_MAY_IMPORT


@PURE
def test_the_core_neither_waits_nor_reads_a_clock_nor_prints(module: Module) -> None:
    for node in ast.walk(module.tree):
        assert not isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncWith | ast.AsyncFor), f"{module.name}:{node}"
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            assert called not in {"now", "utcnow", "today", "open", "print", "input", "eval", "exec", "__import__"}, (
                f"{module.name}: {called}"
            )


@PURE
def test_money_in_the_core_never_goes_through_a_float(module: Module) -> None:
    calls = [node for node in ast.walk(module.tree) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "float"]
    floats = [node for node in calls if not isinstance(node.args[0], ast.Constant)]
    assert not floats or module.name == "core.rules.billing", "the one float is a duration, as go-livepeer computes it"


@OURS
def test_files_and_functions_stay_short(module: Module) -> None:
    assert module.text.count("\n") <= MAX_FILE_LINES
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            most = MAX_WIRING_LINES if (module.name, node.name) == ("app", "create_app") else MAX_FUNCTION_LINES
            assert length <= most, f"{module.name}.{node.name} has {length} lines"


@OURS
def test_names_say_what_a_thing_does(module: Module) -> None:
    vague = re.compile(r"(?:Manager|Helpers?|Utils?|Mixin|Base)(?:$|[A-Z])|^(?:helpers?|utils?|common|misc|managers?|base)$")
    names = [node.name for node in ast.walk(module.tree) if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)]
    assert not [name for name in [*names, *module.name.split(".")] if vague.search(name)]


@OURS
def test_every_module_says_its_duty_and_no_exception_is_swallowed(module: Module) -> None:
    assert ast.get_docstring(module.tree) or not module.tree.body
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"{module.name}:{node.lineno} catches everything"
            assert not all(isinstance(statement, ast.Pass) for statement in node.body), f"{module.name}:{node.lineno} swallows"


@PURE
def test_every_public_part_of_the_core_says_what_it_is(module: Module) -> None:
    for node in module.tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{module.name}.{node.name}"


def test_nothing_is_left_for_later() -> None:
    later = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b")
    assert not [module.name for module in MODULES if later.search(module.text)]


# --- errors ---


def error_classes() -> list[type[errors.SignerError]]:
    """Every class of the tree but its inner nodes."""
    found = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, errors.SignerError)]
    return [value for value in found if value not in (errors.SignerError, errors.Refused, errors.Failed)]


def test_every_error_is_either_refused_or_failed_and_explains_itself() -> None:
    for error in error_classes():
        assert issubclass(error, errors.Refused) != issubclass(error, errors.Failed)
        assert error.__doc__
        assert error.__mro__[1] in (errors.Refused, errors.Failed), f"{error.__name__} is a cause of its own"


def test_the_tree_of_errors_is_drawn_as_it_is() -> None:
    assert errors.__doc__ is not None
    drawn = errors.__doc__.partition("Refused:")[2].partition("The machine word")[0]
    refused, _, failed = drawn.partition("Failed:")
    for drawing, base in ((refused, errors.Refused), (failed, errors.Failed)):
        names = re.findall(r"^ {12}(\S.*)$", drawing, re.MULTILINE)
        assert sorted(" ".join(names).split()) == sorted(error.__name__ for error in error_classes() if issubclass(error, base))


def test_a_cause_is_called_by_its_word() -> None:
    for error in error_classes():
        word = re.sub(r"(?<!^)(?=[A-Z])", "_", error.__name__).lower()
        assert error.code == ("chain_stale" if error is errors.RecipientUndetermined else word)


def test_every_cause_has_its_own_word() -> None:
    words: dict[str, list[str]] = {}
    for error in error_classes():
        assert re.fullmatch(r"[a-z]+(?:_[a-z]+)*", error.code)
        assert error.code != errors.SignerError.code
        words.setdefault(error.code, []).append(error.__name__)
    shared = {word: names for word, names in words.items() if len(names) > 1}
    assert shared == {"chain_stale": ["ChainStale", "RecipientUndetermined"]}, "the chain could not be asked in time: one word"


def test_the_words_of_the_protocol_are_all_there() -> None:
    words = (
        "bad_json bad_field missing_orchestrator bad_orchestrator bad_price missing_ticket_params bad_ticket_params "
        "invalid_sig invalid_state state_mismatch missing_manifest_id bad_capabilities missing_auth_token refresh_session "
        "bad_job_type no_billable_units bad_max_price price_exceeded "
        "no_tickets too_many_tickets ticket_ev_exceeded total_ev_exceeded face_value_too_low no_deposit no_reserve "
        "deposit_unlocking deposit_too_small round_unknown chain_stale price_feed_stale overloaded denied auth_id_changed suspended "
        "recipient_refused orchestrator_paused address_refused protocol_paused orchestrator_unreachable unauthenticated auth_failed "
        "auth_bad_max_price budget_exceeded rate_exceeded stale_state session_busy ledger_unavailable outbox_full body_too_large not_found "
        "method_not_allowed clock_wrong"
    )
    assert set(words.split()) <= {error.code for error in error_classes()}
    assert errors.SignerError.code == "internal"


def test_the_table_of_statuses_is_complete() -> None:
    assert set(STATUSES) == set(error_classes()) - {errors.Denied}
    assert status_of(errors.Denied("no", status=483)) == 483
    assert status_of(errors.SignerError("unknown")) == 500


def test_only_an_internal_fault_hides_what_it_was() -> None:
    hidden = error_reply(errors.AuthFailed("the webhook at its address did not answer"), "id")
    assert b"webhook" not in hidden.body
    assert b"Internal Server Error" in hidden.body
    shown = error_reply(errors.NoDeposit("no deposit", hint="fund it"), "id")
    assert b"no deposit" in shown.body
    for passing in (hidden, shown):
        assert int(dict(passing.headers)[b"retry-after"]) > 0
    assert b"retry-after" not in dict(error_reply(errors.BadJson("no"), "id").headers)


# --- start ---

START = """
import sys
from livepeer_remote_signer.app import create_app
from livepeer_remote_signer.config.loading import parse_config

create_app(parse_config("key: {private_key: '%s'}\\nchain: {source: static}", {}))
print(*(name for name in %r if name in sys.modules))
"""


def test_a_static_start_imports_no_optional_part() -> None:
    script = START % ("1f" * 32, OPTIONAL_PARTS)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == []
