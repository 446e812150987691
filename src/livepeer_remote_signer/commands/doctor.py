"""`doctor`: tries what `check-config` can only read, and says what to do about what does not work. Signs nothing that is worth anything,
sends no transaction and asks no webhook about a payment."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import shutil
import time
from collections.abc import Awaitable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from livepeer_remote_signer.commands.check import local_faults, unread_files
from livepeer_remote_signer.commands.notes import notes_on_files, notes_on_proxies, notes_on_time, notes_on_variables
from livepeer_remote_signer.commands.serve import open_listeners, read_config
from livepeer_remote_signer.config.doubtful import doubtful_settings
from livepeer_remote_signer.config.events import FileSink, HttpSink, KafkaSink
from livepeer_remote_signer.config.exposure import missing_bounds
from livepeer_remote_signer.config.keys import KeyConfig
from livepeer_remote_signer.config.models import Config
from livepeer_remote_signer.core.errors import LedgerUnavailable, SignerError
from livepeer_remote_signer.core.protocol.eip191 import checksum_address
from livepeer_remote_signer.core.rules.funding import format_eth
from livepeer_remote_signer.core.rules.readiness import ReadyCheck
from livepeer_remote_signer.process.listening import StartupError

if TYPE_CHECKING:
    from livepeer_remote_signer.adapters.outbound import Outbound

READINGS = 2
"""Of the chain: the second one tells whether what the first said of the clock holds."""

PROBE_SECONDS = 5.0
MIN_FREE_BYTES = 1_000_000_000

_TO_DO = {
    "configuration": "change the key that is named; `docs/configuration.md` has every key",
    "files": "make the file, or give it to the user that serves",
    "key": "`docs/operator-guide.md#key` says how to make one",
    "chain": "`docs/operator-guide.md#funding`: `fund` pays in; for a reading that fails see the line `rpc`",
    "clock": "set the clock: `chronyc tracking`, or `timedatectl set-ntp true`",
    "rpc": "try the URL with curl from this host; name a second endpoint of another provider",
    "price_feed": "compare prices.currency_feed.address with Chainlink's list for this chain, or give ceilings in ETH",
    "listen": "end what listens there (`ss -ltnp`), or choose another port",
    "ledger": "try `psql` with the same URL from this host",
    "disk": "free space, or lower ledger.retention_seconds",
    "auth.webhook": "try auth.webhook.url with curl from this host",
    "auth.jwt": "compare auth.jwt.issuer with the `iss` of a token, and try its /.well-known/openid-configuration with curl",
}
_ONE_OF_SEVERAL = {"keys": "key", "senders": "chain"}
"""What is done about each of several keys and senders is what is done about the one."""

_ELSE = "compare the key of this name in the configuration with what runs there"


def add_parsers(subparsers: Any) -> None:
    """Adds this module's command."""
    doctor = subparsers.add_parser(
        "doctor",
        help="try everything that the configuration names: RPC, funds, feed, webhook, issuer, sinks, clock, folders",
        description="Tries what check-config can only read, from this host and as this user, and says what to do about each fault. It "
        "signs no ticket, sends no transaction, and asks the webhook about no payment. Exits 1 when something does not work.",
    )
    doctor.add_argument("--config", required=True, metavar="FILE", help="the YAML configuration")
    doctor.add_argument("--json", action="store_true", help="as JSON")
    doctor.set_defaults(run=run_doctor)


def run_doctor(arguments: argparse.Namespace) -> int:
    """0 when everything that payments need works, 1 when something does not, 2 when the configuration cannot be read."""
    config = read_config(arguments.config)
    if config is None:
        return 2
    with _nothing_logged():
        checks = [*_local_checks(config, Path(arguments.config))]
        if all(check.ok for check in checks if check.name in ("configuration", "files")):
            checks += asyncio.run(_tried(config))
    if arguments.json:
        print(json.dumps([{**check._asdict(), "to_do": to_do(check)} for check in checks], indent=2))
    else:
        for check in checks:
            _print(check)
    return 0 if all(check.ok for check in checks) else 1


@contextmanager
def _nothing_logged() -> Iterator[None]:
    """What would be logged stands in the checks' lines."""
    logger = logging.getLogger("livepeer_remote_signer")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def to_do(check: ReadyCheck) -> str:
    """What an operator may do about a check that is not good, "" where it is."""
    if check.ok and not check.degraded:
        return ""
    if check.name in ("warning", "note"):
        return ""
    section = check.name.partition(".")[0]
    return _TO_DO.get(check.name, _TO_DO.get(_ONE_OF_SEVERAL.get(section, ""), _ELSE))


def _print(check: ReadyCheck) -> None:
    kind = "FAULT" if not check.ok else "doubt" if check.degraded else "ok"
    print(f"{kind:<6} {check.name:<16} {check.reason}")
    if advice := to_do(check):
        print(f"{'':<23} -> {advice}")


def _local_checks(config: Config, file: Path) -> Iterator[ReadyCheck]:
    """What this host alone can tell."""
    unread = unread_files(config)
    faults = list(local_faults(config, unread))
    for fault in faults:
        yield ReadyCheck("configuration", False, str(fault))
    for key, path in unread.items():
        yield ReadyCheck("files", False, f"{key} {path} {'cannot be read by this user' if path.exists() else 'is not there'}")
    if not faults and not unread:
        yield ReadyCheck("configuration", True, "serve takes it")
    for text in (*missing_bounds(config), *doubtful_settings(config, file)) if not faults else ():
        yield ReadyCheck("warning", True, text, degraded=True)
    for text in (*notes_on_variables(file, os.environ), *notes_on_proxies(os.environ), *notes_on_time(config), *notes_on_files(config)):
        yield ReadyCheck("note", True, text, degraded=True)
    for place in _written_folders(config):
        if place.is_dir() and (free := shutil.disk_usage(place).free) < MIN_FREE_BYTES:
            yield ReadyCheck(
                "disk", True, f"{place} has {free / 1e6:.0f} MB free, of which a day's payments may take 250 MB", degraded=True
            )
    yield _listening(config)


def _written_folders(config: Config) -> Sequence[Path]:
    paths = [sink.path for sink in config.events.sinks if isinstance(sink, FileSink)]
    if config.ledger.backend == "sqlite" and config.ledger.path is not None:
        paths.append(config.ledger.path)
    return sorted({path.absolute().parent for path in paths})


def _listening(config: Config) -> ReadyCheck:
    """An address that is taken is no fault where a signer answers there."""
    where = f"{config.listen}" + (f" and {config.admin.listen}" if config.admin is not None else "")
    try:
        for listener in open_listeners(config).values():
            listener.close()
    except StartupError as error:
        return ReadyCheck("listen", True, f"{error}: is a signer running already?", degraded=True)
    return ReadyCheck("listen", True, f"{where} can be had")


async def _tried(config: Config) -> list[ReadyCheck]:
    """Everything at a time; each has a time-out of its own."""
    from livepeer_remote_signer.adapters.keys import SigningKeyError
    from livepeer_remote_signer.wiring.outbound import open_outbound

    outbound = open_outbound(config.outbound)
    try:
        tried = {place: await _try_key(place, key, outbound) for place, key in config.named_keys}
    except SigningKeyError as error:
        return [ReadyCheck("key", False, str(error))]
    addresses = {place: address for place, (address, _) in tried.items()}
    tries: list[Awaitable[Iterable[ReadyCheck]]] = [
        _try_chain(config, addresses, outbound),
        _try_webhook(config, outbound),
        _try_issuer(config, outbound),
        _try_ledger(config),
        *(_try_sink(index, sink, config, outbound) for index, sink in enumerate(config.events.sinks)),
        *(_try_url(name, url, outbound) for name, url in _further_urls(config)),
    ]
    return [*(check for _, check in tried.values()), *(check for checks in await asyncio.gather(*tries) for check in checks)]


async def _try_key(place: str, config: KeyConfig, outbound: Outbound) -> tuple[bytes, ReadyCheck]:
    """Its address, and whether it signs. Raises SigningKeyError."""
    from livepeer_remote_signer.adapters.keys.external import PROBE
    from livepeer_remote_signer.wiring.keys import open_external_key, open_signing_key

    if config.external is None:
        address = open_signing_key(config).address
        return address, ReadyCheck(place, True, f"{checksum_address(address)}, opened and tried")
    key = open_external_key(config, outbound)
    try:
        await key.sign_personal([PROBE])
    except SignerError as error:
        return key.address, ReadyCheck(place, False, error.message)
    finally:
        await key.stop()
    return key.address, ReadyCheck(place, True, f"{checksum_address(key.address)} signs through {place}.{config.external}")


async def _try_chain(config: Config, addresses: Mapping[str, bytes], outbound: Outbound) -> Iterable[ReadyCheck]:
    """The same checks as `/readyz`, of two readings made now; `addresses` are those of the keys, by their places."""
    from livepeer_remote_signer.adapters.readiness import Readiness
    from livepeer_remote_signer.wiring.chain import open_chain, open_sender_chain

    address, *others = addresses.values()
    chain = open_chain(config, address, outbound, others)
    senders = {name: open_sender_chain(chain, addresses[f"keys.{name}"]).view for name in config.key_names}
    if chain.rpc is not None:
        for _ in range(READINGS):
            await chain.rpc.poll()
            await chain.rpc.look_around()
    view = chain.source.view()
    checks = Readiness(chain.source.view, chain.ceilings, endpoints=chain.rpc, feed=chain.feed, senders=senders).checks()
    if chain.rpc is not None:
        await chain.rpc.stop()
    if config.chain.source == "static":
        checks.append(ReadyCheck("chain.source", True, "static: what is signed can never be redeemed", degraded=True))
    elif view.stale is None:
        for name, funds in senders.items() or (("", chain.source.view),):
            said = f"deposit {format_eth(funds().deposit_wei)}, reserve {format_eth(funds().reserve_wei)}"
            checks.append(ReadyCheck(f"funds.{name}" if name else "funds", True, said))
    return checks


async def _try_webhook(config: Config, outbound: Outbound) -> Iterable[ReadyCheck]:
    webhook = config.auth.webhook
    if webhook is None:
        return ()
    from livepeer_remote_signer.adapters.keys import read_secret_file

    headers = {name: value.get_secret_value() for name, value in webhook.headers.items()}
    secret = webhook.secret.get_secret_value() if webhook.secret is not None else None
    if webhook.secret_file is not None:
        secret = read_secret_file(webhook.secret_file, "auth.webhook.secret_file")
    if secret is not None:
        headers["authorization"] = f"Bearer {secret}"
    return await _try_url("auth.webhook", webhook.url, outbound, headers, webhook.timeout_seconds)


async def _try_issuer(config: Config, outbound: Outbound) -> Iterable[ReadyCheck]:
    if config.auth.jwt is None:
        return ()
    from livepeer_remote_signer.adapters.auth.jwt import JwksKeys

    keys = JwksKeys(config.auth.jwt.issuer, config.auth.jwt.jwks_url, outbound=outbound)
    try:
        count = await keys.look()
        return (ReadyCheck("auth.jwt", not keys.fault, keys.fault or f"the issuer publishes {count} keys that can be used"),)
    finally:
        await keys.aclose()


async def _try_ledger(config: Config) -> Iterable[ReadyCheck]:
    ledger = config.ledger
    if ledger.backend == "sqlite":
        is_there = ledger.path is not None and ledger.path.exists()
        return (ReadyCheck("ledger", True, f"{ledger.path} {'is a ledger' if is_there else 'is made at the first start'}"),)
    if ledger.url is None:
        return ()
    from livepeer_remote_signer.adapters.ledger.looking import look

    try:
        return (ReadyCheck("ledger", True, await look(ledger.url.get_secret_value(), ledger.timeout_seconds)),)
    except LedgerUnavailable as error:
        return (ReadyCheck("ledger", False, error.message),)


async def _try_sink(index: int, sink: FileSink | HttpSink | KafkaSink, config: Config, outbound: Outbound) -> Iterable[ReadyCheck]:
    from livepeer_remote_signer.adapters.events.sink import SinkError
    from livepeer_remote_signer.adapters.keys import read_secret_file
    from livepeer_remote_signer.wiring.events import open_sinks

    name = f"events.sinks.{index}"
    if isinstance(sink, FileSink):
        return (ReadyCheck(name, True, f"{sink.path} can be written"),)
    if isinstance(sink, HttpSink):
        secret = sink.secret.get_secret_value() if sink.secret is not None else None
        if sink.secret_file is not None:
            secret = read_secret_file(sink.secret_file, f"{name}.secret_file")
        return await _try_url(name, sink.url, outbound, {"authorization": f"Bearer {secret}"} if secret is not None else {})
    opened = open_sinks(config, outbound)[index]
    try:
        partitions = await opened.look()  # type: ignore[attr-defined]  # of Kafka's alone
        return (ReadyCheck(name, True, f"the topic has {partitions} partitions"),)
    except SinkError as error:
        return (ReadyCheck(name, False, str(error)),)
    finally:
        await opened.aclose()


def _further_urls(config: Config) -> Iterator[tuple[str, str]]:
    """What is asked or told besides, and stops no payment."""
    if config.discovery.enabled and config.discovery.webhook_url is not None:
        yield "discovery.webhook_url", config.discovery.webhook_url
    if config.tracing.otlp_endpoint is not None:
        yield "tracing.otlp_endpoint", config.tracing.otlp_endpoint


async def _try_url(
    name: str, url: str, outbound: Outbound, headers: dict[str, str] | None = None, timeout_seconds: float = PROBE_SECONDS
) -> Iterable[ReadyCheck]:
    from livepeer_remote_signer.adapters.outbound.probe import probe

    began = time.monotonic()
    found = await probe(outbound, url, headers or {}, timeout_seconds)
    took = f"{(time.monotonic() - began) * 1000:.0f} ms"
    if not found.works:
        return (
            ReadyCheck(name, name not in ("auth.webhook",) and not name.startswith("events."), f"cannot be reached: {found.said}", True),
        )
    said = f"{found.said} in {took}" + (f"; {found.doubt}" if found.doubt else "")
    return (ReadyCheck(name, True, said, degraded=bool(found.doubt)),)
