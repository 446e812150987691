"""Payments whose key is outside this host: reserve -> sign outside -> record, each step durable before the next one.

Source: section 15 of the protocol; `core.rules.custody` has the rules. A caller that gives up while signatures are being made
leaves them to be recorded: the identical request gets them then, and no ticket is signed again for it. Where signing fails
nothing is paid, and what was reserved is given back. Where this process ends, the reservation stays: whoever sends the
identical request again finishes it, and a sweeper gives it back when nobody does.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple, TypeVar

from livepeer_remote_signer.core.errors import CallerLeft, KeyUnavailable, LedgerUnavailable, SessionBusy, Suspended
from livepeer_remote_signer.core.protocol.eip191 import keccak256
from livepeer_remote_signer.core.protocol.state import Seal, SignerState, encode_state
from livepeer_remote_signer.core.protocol.ticket import Ticket, seg_creds_message, ticket_hash_parts
from livepeer_remote_signer.core.protocol.timestamps import NS_PER_MS
from livepeer_remote_signer.core.protocol.wire import encode_payment, encode_seg_data
from livepeer_remote_signer.core.recent import Recent
from livepeer_remote_signer.core.rules.custody import Held, Stamp
from livepeer_remote_signer.core.rules.ledger import Found, Newest, Record, RequestKey, SegCreds, Stored
from livepeer_remote_signer.core.rules.payment import PaymentPlan
from livepeer_remote_signer.core.rules.reservation import Reservation, Reserved, is_held
from livepeer_remote_signer.core.rules.trail import Trail
from livepeer_remote_signer.service.seams import ReservingLedger
from livepeer_remote_signer.service.signing import SEG_CREDS_CACHE_ENTRIES, ExternalKey, SignedPayment

SIGN_SECONDS = 5.0
"""What does not sign by then does not sign. Shorter than other requests take a reservation for one in work (`HELD_MS`)."""

WAIT_SECONDS = 2.0
LOOK_SECONDS = 0.1
"""How long, and how often, a request looks whether another one's signatures, made by another process, are there."""

_TOKEN_BYTES = 16
_T = TypeVar("_T")


class Order(NamedTuple):
    """What to do with a payment that was signed: `make` encodes its record; `served` is whose turn it is, `trail` the request's own."""

    make: Callable[[SignedPayment, SegCreds | None], Record]
    served: str
    trail: Trail


class Custody:
    """One for each process. `signatures`: how many tickets were signed since start."""

    def __init__(
        self,
        key: ExternalKey,
        seal: Seal,
        ledger: ReservingLedger,
        clock_ns: Callable[[], int],
        remember_state: Callable[[bytes, SignerState], None],
    ) -> None:
        self._key = key
        self._seal = seal
        self._ledger = ledger
        self._clock_ns = clock_ns
        self._remember_state = remember_state
        self._in_work: dict[bytes, asyncio.Task[Any]] = {}
        self._given_up: set[bytes] = set()
        self._seg_creds: Recent[bytes] = Recent(SEG_CREDS_CACHE_ENTRIES)
        self.signatures = 0

    @property
    def address(self) -> bytes:
        """The sender of all tickets."""
        return self._key.address

    def seal(self, state: bytes) -> bytes:
        """The seal over a state that was given out before."""
        return self._seal.seal(state)

    async def start(self) -> None:
        """Nothing is in work yet."""

    async def stop(self) -> None:
        """Waits for the signatures that are being made, so that they are recorded; the ledger must still be there."""
        if self._in_work:
            await asyncio.wait(self._in_work.values(), timeout=SIGN_SECONDS + WAIT_SECONDS)

    async def pay(self, key: RequestKey, plan: PaymentPlan, order: Order) -> Found:
        """None when the payment is durable, else what was found in its place."""
        token = os.urandom(_TOKEN_BYTES)
        return await self._do(token, order, "ledger", self._reserve_and_finish(token, key, plan, order))

    async def finish(self, held: Held, order: Order) -> bool:
        """Signs and records a payment that was reserved before. False: it has ended meanwhile, and what was signed is thrown away."""
        return await self._do(held.reservation.token, order, "sign", self._sign_and_record(held, order, is_ours=False))

    async def wait_for(self, reservation: Reservation, key: RequestKey) -> Found:
        """What stands in the place of `key` once another request's reservation has ended, which is ended here when nobody signs it
        any more. Raises SessionBusy where that takes too long."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + WAIT_SECONDS
        while True:
            if (task := self._in_work.get(reservation.token)) is not None:
                await asyncio.wait((task,), timeout=max(0.0, give_up_at - loop.time()))
            elif is_held(reservation, self._clock_ns() // NS_PER_MS):
                await asyncio.sleep(LOOK_SECONDS)
            else:
                await self._ledger.release(reservation, self._clock_ns())
            found = await self._ledger.look_up(key, self._clock_ns())
            if not isinstance(found, Reserved) or found.reservation.token != reservation.token:
                return found
            if loop.time() >= give_up_at:
                raise SessionBusy(
                    "another call of this session is being signed", hint="send one call of a session at a time", retry_after_seconds=1
                )

    def is_in_work(self, reservation: Reservation) -> bool:
        """Whether this process is signing it."""
        return reservation.token in self._in_work

    async def _do(self, token: bytes, order: Order, phase: str, work: Coroutine[Any, Any, _T]) -> _T:
        """What `work` returns, which begins with `phase`. It goes on where its caller gives up."""
        trail, before = order.trail, len(order.trail.marks)
        task = self._in_work[token] = asyncio.create_task(work)
        task.add_done_callback(lambda done: self._finish_work(token, done))
        since = trail.clock()
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.done():
                self._given_up.add(token)
                trail.marks.append(("sign" if len(trail.marks) > before else phase, since, trail.clock()))
            raise

    def _finish_work(self, token: bytes, task: asyncio.Task[Any]) -> None:
        del self._in_work[token]
        self._given_up.discard(token)
        if not task.cancelled():
            task.exception()  # nobody may be left who asks

    async def _reserve_and_finish(self, token: bytes, key: RequestKey, plan: PaymentPlan, order: Order) -> Found:
        stamp = Stamp(token, self._clock_ns() // NS_PER_MS, self._key.address)
        with order.trail.phase("ledger"):
            found = await self._ledger.reserve(key, plan, stamp)
        if not isinstance(found, Held):
            return found
        if await self._sign_and_record(found, order):
            return None
        return await self._after_loss(key)

    async def _after_loss(self, key: RequestKey) -> Stored | Newest | Reserved:
        found = await self._ledger.look_up(key, self._clock_ns())
        if found is None:
            raise SessionBusy(
                "the payment was given back before it was signed", hint="the same request may be sent again", retry_after_seconds=1
            )
        return found

    async def _sign_and_record(self, held: Held, order: Order, *, is_ours: bool = True) -> bool:
        """`is_ours`: it was reserved by this call. Where signing fails it is given back then, else once nobody else may be signing it."""
        try:
            if held.reservation.token in self._given_up or order.trail.has_left():
                raise CallerLeft("the connection was reset before the payment was signed")
            with order.trail.phase("sign"):
                signed, seg_creds = await self._sign(held.plan)
            record = order.make(signed, seg_creds)
        except Exception:
            if is_ours or not is_held(held.reservation, self._clock_ns() // NS_PER_MS):
                await self._give_back(held.reservation)
            raise
        try:
            with order.trail.phase("ledger"):
                return await self._ledger.finish(held, record, order.served)
        except Suspended:
            await self._give_back(held.reservation)
            raise

    async def _give_back(self, reservation: Reservation) -> None:
        """Where the ledger cannot do it now, which it tells of itself, the sweeper does."""
        try:
            await self._ledger.release(reservation, self._clock_ns())
        except LedgerUnavailable:
            return

    async def _sign(self, plan: PaymentPlan) -> tuple[SignedPayment, SegCreds | None]:
        """All signatures of a plan at once, and the segment credentials where they are new."""
        session, sender = plan.session, self._key.address
        head, tail = ticket_hash_parts(session.info.ticket_params, sender, plan.aux_data)
        nonces = range(plan.first_nonce, plan.first_nonce + plan.num_tickets)
        messages = [keccak256(head + nonce.to_bytes(32, "big") + tail) for nonce in nonces]
        creds_message = seg_creds_message(session.manifest_id)
        creds_key = keccak256(sender + creds_message)  # a ledger of several senders has those of each
        creds_sig = self._seg_creds.get(creds_key) or await self._ledger.seg_creds(creds_key)
        new_creds = [] if creds_sig else [creds_message]
        try:
            async with asyncio.timeout(SIGN_SECONDS):
                sigs = await self._key.sign_personal([*messages, *new_creds])
        except TimeoutError:
            raise KeyUnavailable(
                f"the key outside this host did not sign within {SIGN_SECONDS:g} s", retry_after_seconds=1, limit_seconds=SIGN_SECONDS
            ) from None
        creds_sig = creds_sig or sigs[-1]
        self._seg_creds.put(creds_key, creds_sig)
        tickets = tuple(Ticket(*ticket) for ticket in zip(nonces, messages, sigs, strict=False))
        self.signatures += len(tickets)
        payment = encode_payment(session.info, sender, plan.creation_round, plan.creation_round_block_hash, tickets)
        state = encode_state(plan.state)
        self._remember_state(state, plan.state)
        creds = encode_seg_data(session.manifest_id, creds_sig, session.capabilities, session.auth_token)
        signed = SignedPayment(plan, sender, payment, creds, state, self._seal.seal(state), tickets)
        return signed, SegCreds(creds_key, creds_sig) if new_creds else None
