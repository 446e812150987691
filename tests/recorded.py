"""The recorded cases in `tests/vectors`, and how an answer is held against the recorded one.

What must be equal: the status (or `ours.status`, where we depart on purpose); of a paid request `payment`, `segCreds` and
`state` byte for byte, but for the random StateID of a new session and the order of protobuf maps; of a refusal the
message where the protocol gives one.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from livepeer_remote_signer.core.protocol.eip191 import personal_digest, recover_address
from livepeer_remote_signer.core.protocol.prices import CAPABILITY_NUMBERS, DEFAULT_MODEL, CapabilityModel
from livepeer_remote_signer.core.rules.chain import ChainView
from livepeer_remote_signer.core.rules.limits import TicketLimits
from livepeer_remote_signer.core.rules.pricing import Ceiling, Ceilings
from livepeer_remote_signer.proto import net_pb2

VECTORS = Path(__file__).parent / "vectors"
PAYING_PATH = "/generate-live-payment"
REFRESH_MESSAGE = "refresh session for remote signer"
FIXED_MESSAGES = frozenset(
    (
        "missing orchestrator",
        "missing or zero priceInfo",
        "missing ticketParams in OrchestratorInfo",
        "invalid sig",
        "invalid state",
        "orchestratorAddress mismatch",
        "app mismatch",
        "job type mismatch",
        "missing manifestID",
        "remote signer could not check whether to refresh session: missing auth token",
        "invalid job type",
        "missing billable unit or job type",
        "no tickets",
        "no credit left",
        "now",
    )
)
"""Messages that the protocol gives word for word; all others are ours to write better."""


@dataclass(frozen=True)
class RecordedCase:
    """One recorded call, with what the signer knew."""

    name: str
    key: bytes
    chain: dict[str, Any]
    limits: dict[str, Any]
    step: dict[str, Any]

    @property
    def status(self) -> int:
        """The status that we must answer."""
        status: int = self.ours.get("status", self.step["response"]["status"])
        return status

    @property
    def ours(self) -> dict[str, Any]:
        """Where we depart on purpose; empty where we do not."""
        return self.step.get("ours") or {}

    @property
    def has_webhook(self) -> bool:
        """Whether an authorization webhook is configured."""
        return "webhook" in self.step

    @property
    def recorded_reply(self) -> dict[str, Any] | None:
        """The recorded reply's JSON where our bytes must equal it, else None."""
        response = self.step["response"]
        if response["status"] != 200 or self.status != 200 or self.ours.get("bytes_differ"):
            return None
        reply: dict[str, Any] = json.loads(response["body"])
        return reply

    @property
    def recorded_question(self) -> dict[str, Any] | None:
        """What the webhook was asked, None where it was not."""
        question = self.step["response"].get("webhook_received")
        return json.loads(question) if question else None

    @property
    def expected_message(self) -> str | None:
        """The message that the protocol gives for this refusal, None where it is ours to choose."""
        response = self.step["response"]
        if self.ours or response["status"] in (-1, 200, 500, 503) or self.step["request"]["body"] == "null":
            return None
        try:
            message = json.loads(response["body"])["error"]["message"]
        except ValueError:
            return None
        is_fixed = message in FIXED_MESSAGES or message.startswith(("numTickets", "signer auth rejected", REFRESH_MESSAGE))
        return message if is_fixed else None

    def chain_view(self) -> ChainView:
        """What the signer knew of the chain."""
        chain = self.chain
        return ChainView(
            l1_block=chain["l1_block"],
            last_initialized_round=chain["last_initialized_round"],
            last_initialized_round_block_hash=bytes.fromhex(chain["last_initialized_round_block_hash"][2:]),
            deposit_wei=int(chain["deposit_wei"]),
            reserve_wei=int(chain["reserve_wei"]),
            withdraw_round=chain["withdraw_round"],
        )

    def ticket_limits(self) -> TicketLimits:
        """The operator's limits on tickets."""
        limits = self.limits
        return TicketLimits(int(limits["max_ticket_ev_wei"]), int(limits["max_total_ev_wei"]), limits["deposit_multiplier"])

    def ceilings(self) -> Ceilings:
        """The operator's ceilings, computed here from the recorded figures."""
        pixels = Fraction(str(self.limits["pixels_per_unit"]))
        overall = Fraction(str(self.limits["max_price_per_unit"])) / pixels if pixels else Fraction(0)
        per_capability: dict[CapabilityModel, Ceiling] = {}
        for entry in self.limits["capabilities_prices"]:
            assert entry.get("currency", "wei").lower() in ("", "wei")
            of = Fraction(str(entry["pixels_per_unit"])) if entry.get("pixels_per_unit") else pixels
            key = (CAPABILITY_NUMBERS[entry["pipeline"]], entry.get("model_id") or DEFAULT_MODEL)
            per_capability[key] = Fraction(str(entry["price_per_unit"])) / of
        return Ceilings(overall or None, per_capability)


def recorded_cases() -> Iterator[RecordedCase]:
    """Every recorded call, with a name of its own."""
    for path in sorted(VECTORS.glob("*.json")):
        for sequence in json.loads(path.read_bytes()):
            key = bytes.fromhex(sequence["key"].removeprefix("0x"))
            for index, step in enumerate(sequence["steps"]):
                name = f"{path.stem}/{sequence['name']}/{index}: {step['name']}"
                yield RecordedCase(name, key, step.get("chain", sequence["chain"]), step.get("limits", sequence["limits"]), step)


def check_payment(payment: bytes, seg_creds: bytes, recorded: dict[str, Any]) -> None:
    """Payment equal to the byte; segment credentials too, or field by field where a map stands inside."""
    assert payment == b64decode(recorded["payment"])
    theirs = b64decode(recorded["segCreds"])
    assert seg_creds == theirs or net_pb2.SegData.FromString(seg_creds) == net_pb2.SegData.FromString(theirs)


def check_state(state: bytes, sig: bytes, recorded: dict[str, Any]) -> None:
    """State and seal equal to the byte; of a new session all but its random id, and the seal by whose it is."""
    theirs, their_sig = b64decode(recorded["state"]["State"]), b64decode(recorded["state"]["Sig"])
    if json.loads(theirs)["SequenceNumber"] != 0:
        assert (state, sig) == (theirs, their_sig)
        return
    assert without_state_id(state) == without_state_id(theirs)
    assert recover_address(personal_digest(state), sig) == recover_address(personal_digest(theirs), their_sig)


def without_state_id(state: bytes) -> bytes:
    """The state's bytes with its id blanked."""
    return state.replace(json.loads(state)["StateID"].encode(), b"#", 1)


def check_message(case: RecordedCase, message: str) -> None:
    """The protocol's own messages, word for word; 480's as its beginning."""
    expected = case.expected_message
    if expected == REFRESH_MESSAGE:
        assert message.startswith(REFRESH_MESSAGE)
    elif expected is not None:
        assert message == expected


def check_question(question: dict[str, Any], recorded: dict[str, Any]) -> None:
    """The webhook gets at least the recorded headers, and the recorded state but for a new session's id."""
    assert {name: question["headers"].get(name) for name in recorded["headers"]} == recorded["headers"]
    ours, theirs = dict(question["state"]), dict(recorded["state"])
    if theirs["SequenceNumber"] == 0:
        ours.pop("StateID")
        theirs.pop("StateID")
    assert ours == theirs
