"""The room that a payment may take, to the byte: what every payment takes, and what each name, ticket and capability adds."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from livepeer_remote_signer.core.protocol.wire import parse_capabilities
from livepeer_remote_signer.core.rules.payment import PaymentPlan
from livepeer_remote_signer.core.rules.room import most_bytes
from livepeer_remote_signer.proto import net_pb2
from tests.decisions import decide
from tests.strategies import new_request

BARE_BYTES = 64 * 1024
"""Indexes, the event, the state, and a reply with all that is echoed at its longest."""


def bare(*, tickets: int = 0, session: dict[str, Any] | None = None, state: dict[str, Any] | None = None) -> PaymentPlan:
    """A payment without a name or a capability in it, but for those that are given."""
    plan = decide(new_request())
    return structs.replace(
        plan,
        num_tickets=tickets,
        session=structs.replace(plan.session, **{"manifest_id": "", "capabilities": None, **(session or {})}),
        state=structs.replace(plan.state, **{"app": "", "auth_id": "", "manifest_id": "", **(state or {})}),
    )


@pytest.mark.parametrize("tickets", [0, 1, 2, 100])
def test_each_ticket_takes_a_thousand_bytes(tickets: int) -> None:
    assert most_bytes(bare(tickets=tickets)) == BARE_BYTES + 1000 * tickets


@pytest.mark.parametrize("length", [1, 7, 60_000])
@pytest.mark.parametrize("name", ["app", "auth_id", "manifest_id"])
def test_a_character_of_the_states_names_is_kept_escaped_and_in_the_reply_twice_as_long(name: str, length: int) -> None:
    assert most_bytes(bare(state={name: "n" * length})) == BARE_BYTES + (6 + 2 * 6) * length


def test_names_add_up() -> None:
    named = bare(tickets=3, session={"manifest_id": "m" * 1000}, state={"app": "a", "auth_id": "i" * 10, "manifest_id": "m" * 100})
    assert most_bytes(named) == BARE_BYTES + 3 * 1000 + 18 * 1000 + 18 * 111


@pytest.mark.parametrize("character", ["m", "é", "\U0001f4b8"])
@pytest.mark.parametrize("length", [1, 7, 60_000])
def test_a_character_of_the_manifest_id_takes_eighteen_bytes_whatever_it_is(character: str, length: int) -> None:
    assert most_bytes(bare(session={"manifest_id": character * length})) == BARE_BYTES + 18 * length


@pytest.mark.parametrize("words", [1, 32])
def test_capabilities_are_echoed_as_they_came_and_filled_up(words: int) -> None:
    raw = net_pb2.Capabilities(bitstring=[2**64 - 1] * words).SerializeToString()
    assert len(raw) == {1: 12, 32: 323}[words]
    request = new_request(capabilities=raw)
    plan = bare(session={"request": request, "capabilities": parse_capabilities(raw)})
    assert most_bytes(plan) == BARE_BYTES + 2 * (16 * 1024 + len(raw))


def test_without_capabilities_nothing_is_kept_for_them() -> None:
    assert parse_capabilities(b"") is None
    assert most_bytes(bare()) == BARE_BYTES


def test_a_whole_payment_takes_what_its_parts_take() -> None:
    plan = decide(new_request(app="app"))
    assert (plan.session.manifest_id, plan.state.app, plan.state.auth_id, plan.state.manifest_id) == ("manifest", "app", "", "")
    assert most_bytes(plan) == BARE_BYTES + 1000 * plan.num_tickets + 18 * len("manifest") + 18 * len("app")
