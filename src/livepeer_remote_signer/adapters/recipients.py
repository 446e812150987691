"""Asks the chain who may be paid, and remembers the answer: what is good for the round, a refusal for a minute.

A recipient that is not known is looked up while its payment waits, once its caller is authorized; all who wait for the
same one share the call. What cannot be determined within a second is not paid. Callers choose recipients, so look-ups are
bounded: a burst as large as Livepeer's pool, which the beginning of a round can cause, and then ten a second.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

from livepeer_remote_signer.core.errors import RecipientUndetermined, SignerError
from livepeer_remote_signer.core.rules.chain import ChainView
from livepeer_remote_signer.core.rules.guard import OrchestratorGuard
from livepeer_remote_signer.core.rules.payment import PaymentPlan
from livepeer_remote_signer.core.rules.recipients import RecipientRules, check_lists, not_a_transcoder
from livepeer_remote_signer.core.rules.trail import Trail

LOOKUP_SECONDS = 1.0
REFUSAL_SECONDS = 60.0
MAX_KNOWN = 10_000
LOOKUPS_AT_ONCE = 100
LOOKUPS_A_SECOND = 10


class TranscoderReader(Protocol):
    """Reads BondingManager. An answer that cannot be had or believed is an exception."""

    async def is_transcoder(self, address: bytes, *, active: bool) -> bool:
        """Whether the 20-byte address is registered, or with `active` in this round's pool."""


class _Known(NamedTuple):
    is_good: bool
    round: int
    at: float


class RecipientRegistry:
    """The policy: the operator's lists, the chain's word, and once it is known who pays the guard, which is told of payments."""

    def __init__(
        self,
        rules: RecipientRules,
        *,
        require: Literal["any", "registered", "active"] = "any",
        reader: TranscoderReader | None = None,
        view: Callable[[], ChainView] | None = None,
        guard: OrchestratorGuard | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if require != "any" and reader is None:
            raise ValueError(f"recipients.require {require} needs a live chain (chain.source rpc)")
        self._rules = rules
        self._require = require
        self._reader = reader
        self._view = view
        self._guard = guard
        self._monotonic = monotonic
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._asking: dict[bytes, asyncio.Task[bool]] = {}
        self._turns = float(LOOKUPS_AT_ONCE)
        self._turns_at = monotonic()

    def check(self, plan: PaymentPlan) -> None:
        """What can be told from memory. Raises RecipientRefused."""
        recipient = plan.session.info.ticket_params.recipient
        check_lists(recipient, self._rules)
        if self._is_asked_for(recipient) and self._remembered(recipient) is False:
            raise not_a_transcoder(recipient, self._require)

    async def look_up(self, plan: PaymentPlan) -> None:
        """The chain's word, unless it is remembered. Raises RecipientRefused or RecipientUndetermined. Who is on the allow list
        is not looked up."""
        recipient = plan.session.info.ticket_params.recipient
        if self._reader is None or not self._is_asked_for(recipient):
            return
        is_good = self._remembered(recipient)
        if is_good is None:
            is_good = await self._look_up(self._reader, recipient)
        if not is_good:
            raise not_a_transcoder(recipient, self._require)

    def check_caller(self, plan: PaymentPlan, *, is_paid: bool = True) -> None:
        """Raises OrchestratorPaused where this caller may not go on paying this orchestrator."""
        if self._guard is not None:
            self._guard.check(plan, is_paid=is_paid)

    def paid(self, plan: PaymentPlan, trail: Trail) -> None:
        """Tells the guard of a payment that was made."""
        if self._guard is not None:
            self._guard.paid(plan)

    def repeated(self, trail: Trail) -> None:
        """Nothing to tell: it was told when the payment was made."""

    def refused(self, error: SignerError, trail: Trail) -> None:
        """Nothing to tell: nobody was paid."""

    def _current_round(self) -> int:
        return 0 if self._view is None else self._view().last_initialized_round

    def _is_asked_for(self, recipient: bytes) -> bool:
        return self._require != "any" and recipient not in self._rules.allow

    def _remembered(self, recipient: bytes) -> bool | None:
        known = self._known.get(recipient)
        if known is None:
            return None
        if known.is_good:
            return True if known.round == self._current_round() else None
        return False if self._monotonic() - known.at < REFUSAL_SECONDS else None

    async def _look_up(self, reader: TranscoderReader, recipient: bytes) -> bool:
        task = self._asking.get(recipient)
        if task is None:
            self._take_turn(recipient)
            task = self._asking[recipient] = asyncio.create_task(self._ask(reader, recipient))
            task.add_done_callback(lambda done: self._finish(recipient, done))
        try:
            return await asyncio.shield(task)
        except Exception as error:  # noqa: BLE001 - whatever a reader raises means that it is not known
            raise RecipientUndetermined(
                f"it could not be determined whether the recipient is a {self._require} transcoder ({type(error).__name__})",
                hint="check the signer's Ethereum RPC endpoints; the same call may be sent again",
                retry_after_seconds=2,
                recipient="0x" + recipient.hex(),
            ) from None

    def _take_turn(self, recipient: bytes) -> None:
        """Raises RecipientUndetermined when too many recipients are looked up already."""
        now = self._monotonic()
        self._turns = min(float(LOOKUPS_AT_ONCE), self._turns + (now - self._turns_at) * LOOKUPS_A_SECOND)
        self._turns_at = now
        if self._turns < 1:
            raise RecipientUndetermined(
                f"the recipient is not known yet, and more than {LOOKUPS_A_SECOND} recipients a second are being looked up",
                hint="the same call may be sent again; recipients.allow names recipients that are not looked up",
                retry_after_seconds=1,
                recipient="0x" + recipient.hex(),
            )
        self._turns -= 1

    async def _ask(self, reader: TranscoderReader, recipient: bytes) -> bool:
        current_round = self._current_round()
        async with asyncio.timeout(LOOKUP_SECONDS):
            is_good = await reader.is_transcoder(recipient, active=self._require == "active")
        self._known[recipient] = _Known(is_good, current_round, self._monotonic())
        self._known.move_to_end(recipient)
        while len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        return is_good

    def _finish(self, recipient: bytes, task: asyncio.Task[bool]) -> None:
        """Forgets a finished call. Its failure was told to those who wait; with nobody left it is of no use."""
        self._asking.pop(recipient, None)
        if not task.cancelled():
            task.exception()

    async def aclose(self) -> None:
        """Stops calls in work."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
