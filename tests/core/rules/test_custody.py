"""Reserve, sign outside, record: whatever the order in which signers, sweepers, crashes and other calls come."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule
from msgspec.structs import replace

from livepeer_remote_signer.core.errors import BudgetExceeded, SignerError, Suspended
from livepeer_remote_signer.core.protocol.state import encode_state, parse_state
from livepeer_remote_signer.core.protocol.timestamps import NS_PER_SECOND
from livepeer_remote_signer.core.rules.budgets import Budget, Claim, Usage, Window, spend_of
from livepeer_remote_signer.core.rules.custody import Held, Stamp, record, release, reserve
from livepeer_remote_signer.core.rules.ledger import Books, LedgerRules, RequestKey, Switches, Tip, claims_of_plan
from livepeer_remote_signer.core.rules.payment import PaymentPlan
from livepeer_remote_signer.core.rules.reservation import HELD_MS, Reservation, encode_plan, is_held, parse_spent, restore_plan
from tests.decisions import continued, decide, sealed
from tests.strategies import NOW_NS, PAYER, info_bytes, new_request, new_sender

SENDER = PAYER
NOW_MS = NOW_NS // 10**6
TOTAL = Budget("auth_id", "*", "total", "ev", 40 * 10**12)
HOUR = Budget("global", "*", "hour", "face_value", 60 * 10**15)
RULES = LedgerRules((TOTAL, HOUR), 86_400)


def stamp(number: int = 1, at_ms: int = NOW_MS) -> Stamp:
    return Stamp(number.to_bytes(16, "big"), at_ms, SENDER)


def key_of(plan: PaymentPlan, *, digest: bytes = bytes(32), idempotency_key: bytes = b"", is_healed: bool = False) -> RequestKey:
    state = plan.session.state
    return RequestKey(
        state_id=state.state_id,
        sequence_number=state.sequence_number,
        digest=digest,
        auth_id=plan.state.auth_id,
        idempotency_key=idempotency_key,
        last_update_ns=state.last_update_ns,
        is_new=plan.session.is_new,
        is_healed=is_healed,
    )


def books_for(claims: tuple[Claim, ...]) -> Books:
    return Books(usage={claim.key: Usage() for claim in claims})


def reserved(plan: PaymentPlan, books: Books, number: int = 1, **names: bytes) -> Held:
    found = reserve(key_of(plan, **names), plan, claims_of_plan(plan, RULES), books, RULES, stamp(number))
    assert found is not None
    held, is_new = found
    assert is_new
    return held


FIRST = decide(new_request())
CLAIMS = claims_of_plan(FIRST, RULES)


def test_a_reservation_takes_budgets_and_nonces_and_no_place_until_it_is_recorded() -> None:
    books = books_for(CLAIMS)
    held = reserved(FIRST, books)
    assert books.nonces == {FIRST.session.info.ticket_params.recipient_rand_hash: FIRST.num_tickets}
    assert [books.usage[c.key].spent(c.budget.window, NOW_NS) for c in CLAIMS] == [spend_of(FIRST, c.budget.measure) for c in CLAIMS]
    assert books.tips == {}
    assert record(held, books)
    assert books.tips == {FIRST.state.state_id: Tip(0, NOW_MS)}
    assert books.reserved == {}
    assert not record(held, books), "it has ended"
    assert release(held.reservation, books) is None


def test_a_released_one_gives_back_all_but_its_nonces_and_its_place_is_free_again() -> None:
    books = books_for(CLAIMS)
    held = reserved(FIRST, books)
    assert set(release(held.reservation, books) or ()) == {c.key for c in CLAIMS}
    assert all(not books.usage[c.key].amounts for c in CLAIMS)
    assert release(held.reservation, books) is None, "once"
    assert not record(held, books), "who signed it throws its signatures away"
    again = reserved(FIRST, books, 2)
    assert again.plan.first_nonce == FIRST.num_tickets + 1
    assert again.reservation.sequence_number == held.reservation.sequence_number


def test_a_second_request_of_a_reserved_session_has_no_place_whoever_sends_it() -> None:
    books = books_for(CLAIMS)
    reserved(FIRST, books)
    usage = {key: dict(used.amounts) for key, used in books.usage.items()}
    assert reserve(key_of(FIRST, digest=bytes([1]) * 32), FIRST, CLAIMS, books, RULES, stamp(2)) is None
    assert {key: used.amounts for key, used in books.usage.items()} == usage


def test_a_session_that_was_reserved_under_the_same_idempotency_key_has_the_place() -> None:
    books = books_for(CLAIMS)
    held = reserved(FIRST, books, idempotency_key=b"k" * 32)
    other = replace(FIRST, session=replace(FIRST.session, state=replace(FIRST.session.state, state_id="other")))
    asked = key_of(other, idempotency_key=b"k" * 32)
    assert reserve(asked, other, CLAIMS, books, RULES, stamp(2)) is None
    assert record(held, books)
    assert books.idempotency_keys == {b"k" * 32}
    assert books.reserved_keys == {}
    assert reserve(asked, other, CLAIMS, books, RULES, stamp(3)) is None, "it is paid"


def test_of_two_sessions_without_an_idempotency_key_both_are_recorded() -> None:
    session = replace(FIRST.session, state=replace(FIRST.session.state, state_id="other"))
    other = replace(FIRST, session=session, state=replace(FIRST.state, state_id="other"))
    books = books_for(claims_of_plan(FIRST, RULES) + claims_of_plan(other, RULES))
    first, second = reserved(FIRST, books), reserved(other, books, 2)
    assert record(first, books)
    assert record(second, books)
    assert set(books.tips) == {FIRST.state.state_id, other.state.state_id}


def test_an_attempt_that_was_recorded_after_all_is_found_again_as_it_was() -> None:
    books = books_for(CLAIMS)
    held = reserved(FIRST, books)
    spent = {key: dict(used.amounts) for key, used in books.usage.items()}
    found = reserve(key_of(FIRST), FIRST.with_tickets(FIRST.num_tickets + 2), CLAIMS, books, RULES, stamp())
    assert found == (held, False)
    assert {key: used.amounts for key, used in books.usage.items()} == spent


def test_what_is_refused_reserves_nothing() -> None:
    books = books_for(CLAIMS)
    books.usage[CLAIMS[0].key].add("total", NOW_NS, 40 * 10**12)
    with pytest.raises(BudgetExceeded):
        reserve(key_of(FIRST), FIRST, CLAIMS, books, RULES, stamp())
    assert (books.reserved, books.nonces) == ({}, {})
    taken = books_for(CLAIMS)
    taken.tips[FIRST.state.state_id] = Tip(0, NOW_MS)
    assert reserve(key_of(FIRST), FIRST, CLAIMS, taken, RULES, stamp()) is None


def test_a_kill_switch_that_is_set_while_it_is_signed_wins() -> None:
    books = books_for(CLAIMS)
    held = reserved(FIRST, books)
    books.switches = Switches(all=True)
    with pytest.raises(Suspended):
        record(held, books)
    assert release(held.reservation, books)
    assert (books.tips, books.reserved) == ({}, {})


@pytest.mark.parametrize("by", ["place", "idempotency key"])
def test_a_signer_with_the_same_key_in_its_own_host_may_be_faster(by: str) -> None:
    books = books_for(CLAIMS)
    held = reserved(FIRST, books, idempotency_key=b"k" * 32)
    if by == "place":
        books.tips[FIRST.state.state_id] = Tip(0, NOW_MS)
    else:
        books.idempotency_keys.add(b"k" * 32)
    assert not record(held, books)


def test_a_healed_request_is_known_as_such_once_it_is_recorded() -> None:
    books = books_for(CLAIMS)
    key = key_of(FIRST, digest=b"d" * 32, is_healed=True)
    found = reserve(key, FIRST, CLAIMS, books, RULES, stamp())
    assert found is not None
    assert books.healed == set()
    assert record(found[0], books)
    assert books.healed == {(FIRST.state.state_id, b"d" * 32)}


@pytest.mark.parametrize(("age_ms", "held"), [(0, True), (HELD_MS - 1, True), (HELD_MS, False), (-HELD_MS + 1, True), (-HELD_MS, False)])
def test_a_reservation_is_somebodys_for_as_long_as_signing_may_take(age_ms: int, held: bool) -> None:
    reservation = reserved(FIRST, books_for(CLAIMS)).reservation
    assert is_held(reservation, NOW_MS + age_ms) is held


@pytest.mark.parametrize("window", ["total", "minute", "hour", "day"])
def test_what_is_given_back_leaves_what_others_spent_and_what_has_left_the_window(window: Window) -> None:
    usage = Usage()
    usage.add(window, NOW_NS, 7)
    usage.add(window, NOW_NS, 5)
    usage.take_back(window, NOW_NS, 7)
    assert usage.spent(window, NOW_NS) == 5
    usage.take_back(window, NOW_NS, 5)
    usage.take_back(window, NOW_NS, 5)
    assert usage.amounts == {}
    usage.add(window, NOW_NS, 3)
    if window != "total":
        usage.take_back(window, NOW_NS - 3 * 86_400 * NS_PER_SECOND, 3)
        assert usage.spent(window, NOW_NS) == 3


@given(st.sampled_from(["live", "lv2v", "fixed", ""]), st.integers(0, 200), st.integers(1, 10**11), st.booleans(), st.integers(0, 10**11))
def test_the_identical_request_restores_the_plan_that_was_reserved(
    job_type: str, elapsed: int, price: int, is_new: bool, odd_ns: int
) -> None:
    now_ns = NOW_NS
    request = new_request(type=job_type, in_pixels=1000)
    if not is_new:
        state = replace(decide(new_request()).state, type=job_type, initial_price_per_unit=price, initial_pixels_per_unit=3)
        state = replace(state, balance=state.balance / 7, auth_max_price="5", auth_binding="b")
        request = new_request(type=job_type, in_pixels=1000, **sealed(state))
        now_ns += elapsed * NS_PER_SECOND + odd_ns
    try:
        plan = decide(request, now_ns, headroom_seconds=20, catch_up_seconds=3600)
    except SignerError:  # nothing is due, or too much
        return
    plan = replace(plan, state=replace(plan.state, auth_id="späti <1>"), is_clock_right=True)
    opened = new_sender().open(request, NOW_NS + 17 * NS_PER_SECOND)
    assert restore_plan(opened, encode_plan(plan), plan.sender) == plan


class Signers(RuleBasedStateMachine):
    """Several signers share the books; the machine keeps, beside them, what really happened.

    A signer is a `Held` that it may lose at any moment (a crash), sign once or twice, and try to record late.
    """

    attempts = Bundle("attempts")

    @initialize()
    def empty(self) -> None:
        self.books = Books(usage={c.key: Usage() for c in CLAIMS})
        self.now_ns = NOW_NS
        self.tokens = 0
        self.plans: dict[str, PaymentPlan] = {}
        self.paid: list[PaymentPlan] = []
        self.signed: dict[tuple[bytes, int], set[bytes]] = {}
        self.known: list[Reservation] = []

    def plan_of(self, session: str) -> PaymentPlan:
        before = self.plans.get(session)
        offer = info_bytes(price=10**11)
        request = new_request(orchestrator=offer) if before is None else continued(before, orchestrator=offer)
        plan = decide(request, self.now_ns)
        name = replace(plan.session.state, state_id=session)
        return replace(plan, session=replace(plan.session, state=name), state=replace(plan.state, state_id=session))

    @rule(target=attempts, session=st.sampled_from("ab"), digest=st.integers(0, 1))
    def call(self, session: str, digest: int) -> object:
        """A call of a session, which is reserved where its place is free."""
        self.now_ns += 11 * NS_PER_SECOND
        self.tokens += 1
        try:
            plan = self.plan_of(session)
            found = reserve(
                key_of(plan, digest=bytes([digest]) * 32), plan, CLAIMS, self.books, RULES, stamp(self.tokens, self.now_ns // 10**6)
            )
        except SignerError:  # nothing is due, or too much, or the budget is used up
            return multiple()
        if found is None:
            assert session in self.books.reserved
            return multiple()
        held, is_new = found
        assert is_new
        self.known.append(held.reservation)
        return held

    @rule(target=attempts, held=attempts)
    def finish_too(self, held: Held) -> Held:
        """Another replica, or the same one after a crash, goes on with the reservation: with the same tickets."""
        restored = restore_plan(held.plan.session, held.reservation.plan, held.plan.sender)
        assert restored == held.plan
        return Held(held.reservation, restored)

    @rule(held=consumes(attempts))
    def crash(self, held: Held) -> None:
        """Nobody signs it any more, until somebody goes on."""

    @rule(held=consumes(attempts))
    def sign_and_record(self, held: Held) -> None:
        """With a random k: the signatures are others each time."""
        plan = held.plan
        rand_hash = plan.session.info.ticket_params.recipient_rand_hash
        was_paid = self.books.tips.get(held.reservation.state_id)
        if not record(held, self.books):
            return
        assert was_paid is None or was_paid.sequence_number == held.reservation.sequence_number - 1
        self.paid.append(plan)
        self.plans[held.reservation.state_id] = plan
        for nonce in range(plan.first_nonce, plan.first_nonce + plan.num_tickets):
            self.signed.setdefault((rand_hash, nonce), set()).add(bytes([len(self.paid)]))

    @rule(which=st.integers(0, 40))
    def release_one(self, which: int) -> None:
        """A sweeper, a different call of the session, or a signer whose key is away."""
        if self.known:
            release(self.known[which % len(self.known)], self.books)

    @invariant()
    def every_ticket_has_one_signature_outside(self) -> None:
        assert all(len(signatures) == 1 for signatures in self.signed.values())

    @invariant()
    def budgets_hold_what_is_paid_and_what_is_reserved(self) -> None:
        pending = [entry for held in self.books.reserved.values() for entry in parse_spent(held.spent)]
        for claim in CLAIMS:
            spent = sum(spend_of(plan, claim.budget.measure) for plan in self.paid)
            spent += sum(entry.amount for entry in pending if entry.key == claim.key)
            counted = sum(self.books.usage[claim.key].amounts.values())
            assert counted == spent
            if claim.budget.window == "total":
                assert counted <= claim.budget.limit_wei

    @invariant()
    def a_session_lives_on_from_its_newest_payment(self) -> None:
        for session, plan in self.plans.items():
            assert self.books.tips[session].sequence_number == plan.state.sequence_number
            assert parse_state(encode_state(plan.state)) == plan.state


Signers.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestSigners = Signers.TestCase
