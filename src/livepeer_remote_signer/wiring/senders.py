"""Composition of senders: each key with its seal and what is shown of it. Part of `app`.

One key and no `senders` is one of these; what all of them share is opened once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from livepeer_remote_signer.adapters.keys import StateSeal
from livepeer_remote_signer.adapters.keys.sender import Sender, check_distinct
from livepeer_remote_signer.adapters.outbound import Outbound
from livepeer_remote_signer.config.models import Config
from livepeer_remote_signer.core.rules.senders import BySender
from livepeer_remote_signer.service.byoc import ByocKey
from livepeer_remote_signer.service.signing import InfoSignature
from livepeer_remote_signer.wiring.keys import open_seal, open_sender

_T = TypeVar("_T")


class SenderParts(NamedTuple):
    """One sender. `name` is its key's in `keys`, "" where there is one key alone; `auth_ids` are those that it pays for."""

    name: str
    auth_ids: Sequence[str]
    address: bytes
    key: Sender
    seal: StateSeal
    info: InfoSignature
    byoc_key: ByocKey


def open_senders(config: Config, outbound: Outbound, clock_ns: Callable[[], int]) -> list[SenderParts]:
    """The senders, that of everybody else first. Raises SigningKeyError, also where two keys are one address."""
    if not config.keys:
        key = open_sender(config.key, config.state, outbound)
        former = config.ledger.senders if key.local is None else None
        return [_open_parts("", ("*",), key, open_seal(config.state, key, clock_ns, former))]
    keys = {name: open_sender(config.keys[name], config.state, outbound) for name in config.key_names}
    check_distinct(keys)
    return [_open_named(config, keys, name, clock_ns) for name in keys]


def _open_named(config: Config, keys: Mapping[str, Sender], name: str, clock_ns: Callable[[], int]) -> SenderParts:
    others = dict.fromkeys((*(key.address for key in keys.values()), *config.ledger.senders))
    del others[keys[name].address]
    auth_ids = tuple(sender.auth_id for sender in config.senders if sender.key == name)
    return _open_parts(name, auth_ids, keys[name], open_seal(config.state, keys[name], clock_ns, list(others)))


def _open_parts(name: str, auth_ids: Sequence[str], key: Sender, seal: StateSeal) -> SenderParts:
    address = key.address
    return SenderParts(name, auth_ids, address, key, seal, InfoSignature(address, key.sign), ByocKey(address, key.sign))


def open_by_sender(senders: Sequence[SenderParts], values: Sequence[_T]) -> BySender[_T]:
    """What belongs to each sender, in the same order, by who is paid for."""
    named = {auth_id: value for sender, value in zip(senders, values, strict=True) for auth_id in sender.auth_ids}
    return BySender(named.get("*"), {auth_id: value for auth_id, value in named.items() if auth_id != "*"})
