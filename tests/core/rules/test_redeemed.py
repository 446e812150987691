"""Only a ticket that this ledger must know if it had signed it is called foreign."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from livepeer_remote_signer.core.protocol.eip191 import keccak256
from livepeer_remote_signer.core.protocol.ticket import ticket_hash
from livepeer_remote_signer.core.rules.redeemed import (
    KEPT_CHECKPOINTS,
    MAX_GAP_MS,
    SETTLE_MS,
    UNSIGNED_SETTLE_MS,
    Checkpoint,
    Followed,
    KnownParams,
    RedeemedTicket,
    Watch,
    encode_followed,
    judge_redeemed,
    keep_watch,
    parse_followed,
)
from livepeer_remote_signer.core.rules.signed import digest_payer, note_signed
from tests.plans import orchestrator_info, plan_payment

RAND = 77
RAND_HASH = keccak256(RAND.to_bytes(32, "big"))
NOW = 1_000_000_000
PLAN = plan_payment(orchestrator_info(rand_hash=RAND_HASH))
ROUND = PLAN.creation_round
SETTLED = Watch(ROUND, 0, NOW, 0, "file 1")


def ticket(**changes: object) -> RedeemedTicket:
    params = PLAN.session.info.ticket_params
    made = RedeemedTicket(b"\x5e" * 20, params.recipient, params.face_value, params.win_prob, 1, RAND, PLAN.aux_data)
    return made._replace(**changes)  # type: ignore[arg-type] # of each field's type


def known() -> KnownParams:
    return KnownParams(PLAN.num_tickets, note_signed(b"", 0, PLAN))


def verdict(of: RedeemedTicket, params: KnownParams | None, watch: Watch = SETTLED, round_: int = ROUND) -> str:
    return judge_redeemed(of, params, watch, round_=round_, validity_rounds=2).verdict


def test_its_hash_is_the_contracts_and_its_round_stands_in_the_aux_data() -> None:
    params = PLAN.session.info.ticket_params
    assert ticket().rand_hash == RAND_HASH
    assert ticket().hash == ticket_hash(params, b"\x5e" * 20, 1, PLAN.aux_data)
    assert ticket().creation_round == ROUND
    assert ticket(aux_data=b"").creation_round == 0


def test_a_ticket_that_was_signed_here_is_ours_and_tells_its_payer() -> None:
    judged = judge_redeemed(ticket(), known(), SETTLED, round_=ROUND, validity_rounds=2)
    assert judged == ("ours", digest_payer(""))


def test_a_thief_who_knows_the_params_is_noticed_by_nonce_amount_recipient_and_round() -> None:
    higher = ticket(sender_nonce=PLAN.num_tickets + 1)
    for foreign in (higher, ticket(face_value=2 * 10**15), ticket(recipient=b"\x01" * 20), ticket(win_prob=2**255)):
        assert verdict(foreign, known()) == "foreign"
    assert verdict(ticket(), None) == "foreign"
    other_hash = PLAN.aux_data[:32] + bytes(32)
    assert verdict(ticket(aux_data=other_hash), known()) == "foreign"


def test_what_was_noted_without_the_sender_is_ours_as_before() -> None:
    """As a signer noted it that had one key alone."""
    noted = KnownParams(PLAN.num_tickets, note_signed(b"", 0, replace(PLAN, sender=b"")))
    assert noted != known()
    assert judge_redeemed(ticket(), noted, SETTLED, round_=ROUND, validity_rounds=2) == ("ours", digest_payer(""))
    assert verdict(ticket(face_value=2 * 10**15), noted) == "foreign"
    assert verdict(ticket(sender=b"\x01" * 20), known()) == "foreign", "what names its sender is nobody else's"


def test_what_a_release_signed_that_keeps_nothing_is_not_judged() -> None:
    assert verdict(ticket(), KnownParams(9, None)) == "unjudged"
    assert verdict(ticket(sender_nonce=3), KnownParams(9, note_signed(b"", 8, PLAN))) == "unjudged"


def test_rounds_before_the_watch_and_those_that_may_be_forgotten_are_not_judged() -> None:
    assert verdict(ticket(), None, SETTLED._replace(first_round=ROUND + 1)) == "unjudged"
    assert verdict(ticket(), None, SETTLED._replace(settles_ms=NOW + 1)) == "unjudged"
    assert verdict(ticket(), None, round_=ROUND + 2) == "foreign"
    assert verdict(ticket(), None, round_=ROUND + 3) == "unjudged"


def looked(watch: Watch | None, now_ms: int, round_: int | None = 10, ledger: str = "file 1", unsigned_ms: int = 0) -> Watch:
    return keep_watch(watch, now_ms=now_ms, round_=round_, ledger=ledger, unsigned_ms=unsigned_ms)


def settled_at(now_ms: int) -> Watch:
    watch = looked(None, now_ms - SETTLE_MS)
    watch = looked(watch, now_ms - SETTLE_MS + MAX_GAP_MS // 2)
    return looked(watch, now_ms)


def test_a_new_ledger_judges_from_the_round_after_the_one_it_is_sure_of() -> None:
    watch = looked(None, NOW, 10)
    assert not watch.is_settled
    watch = looked(watch, NOW + SETTLE_MS - 1, 11)  # the reading was old: the round had begun before
    assert (watch.first_round, watch.is_settled) == (12, False)
    watch = looked(watch, NOW + SETTLE_MS, 13)
    assert (watch.first_round, watch.is_settled) == (12, True)


def test_while_the_round_is_not_known_nothing_settles() -> None:
    watch = looked(None, NOW, None)
    for minute in range(1, 10):
        watch = looked(watch, NOW + minute * 60_000, None)
        assert not watch.is_settled
    watch = looked(watch, NOW + 600_000, 20)
    assert watch.first_round == 21


def test_a_ledger_that_was_restored_left_alone_or_dated_otherwise_starts_anew() -> None:
    watch = settled_at(NOW)
    assert watch.is_settled
    assert looked(watch, NOW + MAX_GAP_MS, 15).first_round == 11
    for again in (looked(watch, NOW + MAX_GAP_MS + 1, 15), looked(watch, NOW - MAX_GAP_MS - 1, 15), looked(watch, NOW, 15, "file 2")):
        assert again.first_round == 16
        assert not again.is_settled


def test_another_release_that_signs_beside_it_starts_it_anew_for_as_long_as_its_params_live() -> None:
    watch = looked(settled_at(NOW), NOW + 1000, 15, unsigned_ms=NOW)
    assert not watch.is_settled
    assert watch.settles_ms == NOW + UNSIGNED_SETTLE_MS
    at = NOW + 1000
    while not watch.is_settled:
        at += MAX_GAP_MS
        watch = looked(watch, at, 16, unsigned_ms=NOW)
    assert at >= NOW + UNSIGNED_SETTLE_MS
    assert watch.first_round == 17
    upgraded = looked(None, NOW, 15, unsigned_ms=NOW - 10 * UNSIGNED_SETTLE_MS)
    assert upgraded.settles_ms == NOW + SETTLE_MS
    ahead = looked(None, NOW, 15, unsigned_ms=NOW * 2)
    assert ahead.settles_ms == NOW + UNSIGNED_SETTLE_MS, "a clock that was ahead does not keep it from settling for ever"


@given(st.lists(st.integers(1, 1000), max_size=200), st.integers(0, 10**6))
@example([7] * 200, 0)
def test_checkpoints_are_few_in_order_and_reach_back_far(strides: list[int], start: int) -> None:
    followed, number = Followed(SETTLED), start
    for stride in strides:
        number += stride
        followed = followed.up_to(Checkpoint(number, hex(number)))
    numbers = [checkpoint.number for checkpoint in followed.checkpoints]
    assert numbers == sorted(set(numbers))
    assert len(numbers) <= KEPT_CHECKPOINTS + 1
    if strides:
        assert numbers[0] == start + strides[0], "the oldest stays"
        assert followed.cursor == Checkpoint(number, hex(number))
    assert parse_followed(encode_followed(followed)) == followed


def test_going_back_forgets_what_came_after() -> None:
    followed = Followed(SETTLED, (Checkpoint(1, "a"), Checkpoint(5, "b"), Checkpoint(9, "c")))
    assert followed.back_to(5).cursor == Checkpoint(5, "b")
    assert followed.back_to(-1).cursor is None
    assert followed.up_to(Checkpoint(5, "d")).checkpoints == (Checkpoint(1, "a"), Checkpoint(5, "d"))
