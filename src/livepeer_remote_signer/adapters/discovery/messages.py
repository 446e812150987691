"""What the signer and the process that asks orchestrators say to each other: one JSON object a line."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from livepeer_remote_signer.core.rules.addresses import AddressPolicy, IpNetwork
from livepeer_remote_signer.core.rules.advertised import Node, Offer, Runner, Terms, TicketTerms

MAX_LINE_BYTES = 4 << 20
"""More than the bounds on answers allow: a pool of 1000 URLs of 2048 characters is the longest line."""


class SourceFault(Exception):
    """A source of orchestrators cannot be read; the message may be shown to anybody."""


class Job(NamedTuple):
    """Whom to ask, and how. With a `webhook_url` the URLs come from there. `tls` is `system` or `tofu`. Of the nodes that each of
    them advertises the first `follow_nodes` are asked as well. `proxy` and `ca_file` are for the webhook alone."""

    sender: bytes
    signature: bytes
    urls: tuple[str, ...]
    webhook_url: str | None
    timeout_seconds: float
    max_concurrency: int
    allow_private: bool
    networks: tuple[str, ...]
    tls: str
    follow_nodes: int = 0
    proxy: str | None = None
    ca_file: str | None = None

    @property
    def addresses(self) -> AddressPolicy:
        """What may be dialled."""
        return AddressPolicy(self.allow_private, tuple(_network(text) for text in self.networks))


class Answer(NamedTuple):
    """What one orchestrator answered; a half that failed is None and its fault is told."""

    url: str
    terms: Terms | None
    nodes: tuple[Node, ...] | None
    faults: tuple[str, ...]


class Pool(NamedTuple):
    """What the webhook answered: URLs and what of it is left out, or None and why."""

    urls: tuple[str, ...] | None
    fault: str
    left_out: tuple[str, ...] = ()


def _network(text: str) -> IpNetwork:
    return ipaddress.ip_network(text)


def encode_job(job: Job) -> bytes:
    """One line."""
    return json.dumps(job._replace(sender=job.sender.hex(), signature=job.signature.hex())._asdict()).encode() + b"\n"  # type: ignore[arg-type]


def parse_job(line: bytes) -> Job:
    """The job of a line that `encode_job` made."""
    value = json.loads(line)
    return Job(
        **value
        | {
            "sender": bytes.fromhex(value["sender"]),
            "signature": bytes.fromhex(value["signature"]),
            "urls": tuple(value["urls"]),
            "networks": tuple(value["networks"]),
        }
    )


def encode_answer(answer: Answer) -> bytes:
    """One line."""
    body: dict[str, Any] = {"url": answer.url, "faults": answer.faults, "terms": None, "nodes": None}
    if (terms := answer.terms) is not None:
        offers = [(o.capability, o.model, str(o.price)) for o in terms.offers]
        ticket = None if terms.ticket is None else [str(value) for value in terms.ticket]
        body["terms"] = {"offers": offers, "recipient": terms.recipient.hex(), "transcoder": terms.transcoder, "nodes": terms.nodes}
        body["terms"]["ticket"] = ticket
    if answer.nodes is not None:
        body["nodes"] = [(n.address, [(r.url, r.app, r.gpu, str(r.price), r.encoded, r.unit) for r in n.runners]) for n in answer.nodes]
    return _line(body)


def encode_pool(pool: Pool) -> bytes:
    """One line."""
    return _line({"pool": pool.urls, "fault": pool.fault, "left_out": pool.left_out})


def encode_said(said: Answer | Pool) -> bytes:
    """One line that the signer reads whole: a fault in place of anything longer than it takes."""
    line = encode_pool(said) if isinstance(said, Pool) else encode_answer(said)
    if len(line) <= MAX_LINE_BYTES:
        return line
    fault = f"{len(line)} bytes are too many to hand on, the most is {MAX_LINE_BYTES}"
    return encode_pool(Pool(None, fault)) if isinstance(said, Pool) else encode_answer(Answer(said.url, None, None, (fault,)))


def _line(value: dict[str, Any]) -> bytes:
    """UTF-8: an escaped character above U+FFFF would take twelve bytes instead of four. Lone surrogates stay escapes."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def parse_line(line: bytes) -> Answer | Pool:
    """What a line of the asking process says."""
    value = json.loads(line)
    if "pool" in value:
        return Pool(None if value["pool"] is None else tuple(value["pool"]), value["fault"], tuple(value["left_out"]))
    terms, nodes = value["terms"], value["nodes"]
    return Answer(
        url=value["url"],
        terms=None if terms is None else _terms(**terms),
        nodes=None if nodes is None else tuple(Node(address, _runners(runners)) for address, runners in nodes),
        faults=tuple(value["faults"]),
    )


def _terms(
    offers: Sequence[tuple[int, str, str]], recipient: str, transcoder: str, nodes: Sequence[str], ticket: tuple[str, str, str] | None
) -> Terms:
    told = None if ticket is None else TicketTerms(Fraction(ticket[0]), Fraction(ticket[1]), int(ticket[2]))
    return Terms(tuple(Offer(c, m, Fraction(p)) for c, m, p in offers), bytes.fromhex(recipient), transcoder, tuple(nodes), told)


def _runners(values: Sequence[Sequence[str]]) -> tuple[Runner, ...]:
    return tuple(Runner(url, app, gpu, Fraction(price), encoded, unit) for url, app, gpu, price, encoded, unit in values)
