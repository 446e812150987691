"""What `serve` and `check-config` tell of a configuration and its surroundings though nothing is refused."""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from livepeer_remote_signer.adapters.outbound import disobeyed_variables
from livepeer_remote_signer.config.models import Config
from livepeer_remote_signer.config.secret_files import FileKind, named_files
from livepeer_remote_signer.config.strict_yaml import parse_yaml
from livepeer_remote_signer.config.variables import fill_variables

CLIENTS_WAIT_SECONDS = 5
"""What the Python SDK and the identity webhooks give a call (protocol section 5.1)."""


def notes_on_variables(file: Path, environ: Mapping[str, str]) -> Iterator[str]:
    """Variables of existing stacks that stand over more of the file than their own value: entries of it are not used."""
    document = parse_yaml(file.read_text("utf-8"))
    document = document if isinstance(document, dict) else {}
    rpc = _section(_section(document, "chain"), "rpc")
    given = {url.strip() for url in environ.get("ETH_RPC_URL", "").split(",") if url.strip()}
    if given:
        urls = rpc.get("urls")
        dropped = [url for url in urls if _filled(url, environ) not in given] if isinstance(urls, list) else []
        if dropped or rpc.get("urls_file") is not None:
            what = f"{len(dropped)} of chain.rpc.urls" if dropped else "chain.rpc.urls_file"
            yield (
                f"ETH_RPC_URL is set and stands in place of all RPC endpoints of the file: {what} are not used; unset it, or give all of "
                "them in it with commas between them"
            )
    sinks = _section(document, "events").get("sinks")
    kafka = [sink for sink in sinks if isinstance(sink, dict) and sink.get("type") == "kafka"] if isinstance(sinks, list) else []
    if environ.get("KAFKA_BROKERS") and len(kafka) > 1:
        yield f"KAFKA_BROKERS is set and stands in place of all {len(kafka)} kafka sinks of events.sinks: unset it to use them"


def _section(tree: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = tree.get(name)
    return found if isinstance(found, dict) else {}


def _filled(url: Any, environ: Mapping[str, str]) -> str:
    return fill_variables(url, environ) if isinstance(url, str) else ""


def notes_on_proxies(environ: Mapping[str, str]) -> Iterator[str]:
    """Variables that other programs of this host may obey."""
    for name in disobeyed_variables(environ):
        yield f"{name} is set and not obeyed: outbound.proxy alone says through whom requests go"


def notes_on_files(config: Config) -> Iterator[str]:
    """Secrets that every user of this host can read. Containers mount theirs so, and are not refused."""
    for key, path, kind in named_files(config):
        with contextlib.suppress(OSError):
            if kind is not FileKind.PUBLIC and path.stat().st_mode & stat.S_IROTH:
                yield f"{key} {path} can be read by every user of this host: chmod 600 it, unless it is mounted so for this process alone"


def notes_on_time(config: Config) -> Iterator[str]:
    """Limits of time that do what nobody wants, though nothing is wrong with each of them."""
    answer, webhook = config.limits.answer_seconds, config.auth.webhook
    if webhook is not None and webhook.timeout_seconds >= answer:
        yield (
            f"auth.webhook.timeout_seconds {webhook.timeout_seconds:g} is not below limits.answer_seconds {answer:g}: a slow webhook is "
            "given up by the latter, and the caller is told less"
        )
    if config.ledger.backend == "postgres" and config.ledger.timeout_seconds >= answer:
        yield (
            f"ledger.timeout_seconds {config.ledger.timeout_seconds:g} is not below limits.answer_seconds {answer:g}: a database that is "
            "silent is noticed after its callers were told to come again, and each of them waits for it"
        )
    if answer >= CLIENTS_WAIT_SECONDS:
        yield (
            f"limits.answer_seconds {answer:g} is not below the {CLIENTS_WAIT_SECONDS} s that clients wait: they leave without an answer, "
            "and do not know whether they paid"
        )
