"""What `serve` and `check-config` tell of a configuration and its surroundings though nothing is refused."""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Iterator, Mapping

from livepeer_remote_signer.adapters.outbound import disobeyed_variables
from livepeer_remote_signer.config.models import Config
from livepeer_remote_signer.config.secret_files import FileKind, named_files

CLIENTS_WAIT_SECONDS = 5
"""What the Python SDK and the identity webhooks give a call (protocol section 5.1)."""


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
