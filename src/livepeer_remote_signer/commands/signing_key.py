"""`signing-key check` and `signing-key mac`: whether the key signs, how fast and at what price, and a key that seals states."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from livepeer_remote_signer.commands.chosen_key import add_key_option, read_config_of_key
from livepeer_remote_signer.commands.serve import positive
from livepeer_remote_signer.config.models import Config
from livepeer_remote_signer.core.protocol.amounts import WEI_PER_ETH, decimal_text, float_string, parse_currency_amount
from livepeer_remote_signer.core.protocol.eip191 import checksum_address

if TYPE_CHECKING:
    from livepeer_remote_signer.adapters.keys.external import CheckedKey

KNOWN_USD = {"aws_kms": Fraction(15, 1_000_000)}
"""AWS asks 0.15 USD for 10,000 requests with a key of elliptic curves, in most regions."""

MAC_KEY_BYTES = 32
QUOTA_SECONDS = 1.0
"""After so long without a signature a quota is whole again."""

Sign: TypeAlias = Callable[[Sequence[bytes]], Awaitable[list[bytes]]]


class Measured(NamedTuple):
    """What was found out about a key. Seconds, and signatures a second."""

    is_deterministic: bool
    median_seconds: float
    worst_seconds: float
    signatures: int
    per_second: float
    throttled: str
    """What ended the measuring of the rate before all signatures were made; "" when nothing did."""


def add_parsers(subparsers: Any) -> None:
    """Adds `signing-key` and what it can do."""
    signing_key = subparsers.add_parser("signing-key", help="try the key that signs tickets, and make one that seals states")
    signing_key.set_defaults(run=run)
    commands = signing_key.add_subparsers(dest="signing_key_command", required=True, metavar="COMMAND")
    check = commands.add_parser(
        "check",
        help="sign with the key: address, latency, rate, price",
        description="Signs a probe that is worth nothing, again and again: shows the key's address, how long a signature takes, how many "
        "a second there can be, whether the same message is signed the same way twice, and what a signature costs where that is known.",
    )
    check.add_argument("--config", required=True, metavar="FILE", help="the signer's configuration: key and outbound are used")
    add_key_option(check)
    check.add_argument(
        "--signatures", type=positive, default=50, metavar="N", help="how many are made one by one, and again at a time (50)"
    )
    check.add_argument("--usd", type=_usd, metavar="PRICE", help="what a signature costs, such as 0.000015 (AWS KMS: known)")
    check.add_argument("--eth-usd", type=_usd, metavar="PRICE", help="what an ETH costs: shows the price of a signature in wei too")
    check.add_argument("--json", action="store_true", help="as JSON")
    mac = commands.add_parser(
        "mac",
        help="make a key file that seals states",
        description="Makes the file for state.mac_key_file: 32 random bytes as hex, readable by its owner alone. An existing file stays.",
    )
    mac.add_argument("--file", required=True, type=Path, metavar="FILE", help="the new file")


def _usd(text: str) -> Fraction:
    try:
        value, currency = parse_currency_amount(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if currency not in ("wei", "usd"):  # no currency is read as wei
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not an amount of USD such as 0.000015")
    return value


def run(arguments: argparse.Namespace) -> int:
    """Runs one of the commands: 0 done, 1 failed, 2 when arguments or configuration cannot be followed."""
    return _make_mac_key(arguments.file) if arguments.signing_key_command == "mac" else _check(arguments)


def _make_mac_key(path: Path) -> int:
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(MAC_KEY_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        print(f"{path} is there already, and stays: sessions are sealed with what it holds", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{path} cannot be written: {error.strerror}", file=sys.stderr)
        return 1
    print(f"made {path}: give it to every worker and replica as state.mac_key_file")
    return 0


def _check(arguments: argparse.Namespace) -> int:
    config = read_config_of_key(arguments)
    if config is None:
        return 2
    from livepeer_remote_signer.adapters.keys import SigningKeyError
    from livepeer_remote_signer.config.loading import ConfigError
    from livepeer_remote_signer.core.errors import KeyThrottled, KeyUnavailable

    try:
        address, measured = (
            asyncio.run(_measure_local(config, arguments)) if config.key.external is None else _measure_external(config, arguments)
        )
    except ConfigError as error:
        print(f"{arguments.config}: {error}", file=sys.stderr)
        return 2
    except SigningKeyError as error:
        print(f"the key cannot be used: {error}", file=sys.stderr)
        return 1
    except (KeyUnavailable, KeyThrottled) as error:
        print(f"the key does not sign: {error.message}", file=sys.stderr)
        return 1
    kind = config.key.external or "local"
    usd = arguments.usd if arguments.usd is not None else KNOWN_USD.get(kind)
    show = _show_json if arguments.json else _show
    show(kind, address, measured, usd, arguments.eth_usd)
    return 0


async def _measure_local(config: Config, arguments: argparse.Namespace) -> tuple[bytes, Measured]:
    from livepeer_remote_signer.wiring.keys import open_signing_key

    key = open_signing_key(config.key)

    async def sign(messages: Sequence[bytes]) -> list[bytes]:
        return [key.sign_personal(message) for message in messages]

    return key.address, await _measure(sign, 1, arguments.signatures)


def _measure_external(config: Config, arguments: argparse.Namespace) -> tuple[bytes, Measured]:
    """Its service is asked for the address before there is an event loop, as `serve` does."""
    from livepeer_remote_signer.wiring.keys import open_external_key
    from livepeer_remote_signer.wiring.outbound import open_outbound

    key = open_external_key(config.key, open_outbound(config.outbound))
    return key.address, asyncio.run(_measure_and_close(key, arguments.signatures))


async def _measure_and_close(key: CheckedKey, signatures: int) -> Measured:
    try:
        return await _measure(key.sign_personal, key.max_parallel, signatures)
    finally:
        await key.stop()


async def _measure(sign: Sign, parallel: int, signatures: int) -> Measured:
    """Raises KeyUnavailable and KeyThrottled where it cannot be signed one by one."""
    from livepeer_remote_signer.adapters.keys.external import PROBE
    from livepeer_remote_signer.core.errors import KeyThrottled

    first, again = [(await sign([PROBE]))[0] for _ in range(2)]
    seconds: list[float] = []
    made, throttled = 0, ""
    while len(seconds) < signatures and not throttled:
        began = time.perf_counter()
        try:
            await sign([PROBE])
        except KeyThrottled as error:
            if not seconds:
                raise
            throttled = error.message
        else:
            seconds.append(time.perf_counter() - began)
    await asyncio.sleep(QUOTA_SECONDS)
    throttled = ""

    async def go_on() -> None:
        nonlocal made, throttled
        while made < signatures and not throttled:
            made += 1
            try:
                await sign([PROBE])
            except KeyThrottled as error:
                made -= 1
                throttled = error.message

    began = time.perf_counter()
    await asyncio.gather(*(go_on() for _ in range(parallel)))
    seconds.sort()
    return Measured(first == again, seconds[len(seconds) // 2], seconds[-1], made, made / (time.perf_counter() - began), throttled)


def _show(kind: str, address: bytes, measured: Measured, usd: Fraction | None, eth_usd: Fraction | None) -> None:
    rows = [
        ("key", kind),
        ("address", checksum_address(address)),
        ("signs", "yes: every signature recovers to the address"),
        ("deterministic", _determinism(measured.is_deterministic)),
        ("latency", f"{measured.median_seconds * 1000:.2f} ms in the middle, {measured.worst_seconds * 1000:.2f} ms at the worst"),
        ("rate", f"{measured.per_second:.0f} signatures a second" + (f"; ended by: {measured.throttled}" if measured.throttled else "")),
        ("price", _price_text(usd, eth_usd)),
    ]
    for name, text in rows:
        print(f"{name:<14} {text}")


def _determinism(is_deterministic: bool) -> str:
    if is_deterministic:
        return "yes: a message has one signature, and a ticket one draw"
    return "no: another signature each time, which is another draw: a ticket's is recorded before it is sent, and repeated to the byte"


def _price_text(usd: Fraction | None, eth_usd: Fraction | None) -> str:
    if usd is None:
        return "not known: --usd says what a signature costs"
    said = f"{decimal_text(usd)} USD a ticket"
    if not eth_usd:
        return said
    wei = usd / eth_usd * WEI_PER_ETH
    return f"{said}, {float_string(wei, 0)} wei: one hundredth of a ticket that is worth {float_string(100 * wei, 0)} wei"


def _show_json(kind: str, address: bytes, measured: Measured, usd: Fraction | None, eth_usd: Fraction | None) -> None:
    document = {
        "key": kind,
        "address": checksum_address(address),
        "deterministic": measured.is_deterministic,
        "median_seconds": round(measured.median_seconds, 6),
        "worst_seconds": round(measured.worst_seconds, 6),
        "signatures_per_second": round(measured.per_second, 1),
        "throttled": measured.throttled or None,
        "price_usd": None if usd is None else decimal_text(usd),
        "price_wei": None if usd is None or not eth_usd else float_string(usd / eth_usd * WEI_PER_ETH, 0),
    }
    print(json.dumps(document, indent=2))
