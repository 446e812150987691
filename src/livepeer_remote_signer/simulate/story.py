"""The story that the `simulate` command tells: three sessions, their refreshes, skipped cycles, a price rise, old states.

Each step says what must happen; whatever else happens is kept in `Story.off` and makes the command fail.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

from livepeer_remote_signer.proto import net_pb2
from livepeer_remote_signer.simulate.clock import Clock
from livepeer_remote_signer.simulate.gateway import Gateway, Paid, Session
from livepeer_remote_signer.simulate.orchestrator import PIXELS_A_SECOND, Account, Orchestrator
from livepeer_remote_signer.simulate.recipient import CURVE_ORDER

LIVE_INTERVAL_SECONDS = 10
LV2V_INTERVAL_SECONDS = 20


class Line(NamedTuple):
    """One row of the table. `credit_seconds` is the orchestrator's own balance, in seconds of work; None: no account."""

    at_seconds: int
    session: str
    status: int | None
    what: str
    tickets: int
    nonces: tuple[int, ...]
    credit_seconds: Fraction | None


@dataclass
class Story:
    """What happened, for the report. `off` holds everything that should not have."""

    clock: Clock
    on_line: Callable[[Line], None] = lambda line: None
    """Told of each row when it has happened."""

    lines: list[Line] = field(default_factory=list)
    off: list[str] = field(default_factory=list)
    payments: int = 0
    refreshes: int = 0
    skips: int = 0
    price_refusals: int = 0
    attacks: int = 0

    def check(self, holds: bool, what: str) -> None:
        """Notes what is off."""
        if not holds:
            self.off.append(f"{self.clock.elapsed_seconds} s: {what}")


@dataclass
class Scene:
    """One session as the story follows it: the gateway's side and the orchestrator's books."""

    name: str
    story: Story
    session: Session
    orchestrator: Orchestrator

    async def begin(self) -> None:
        """Fetches the terms."""
        answer = await self.session.refresh()
        self.story.check(answer.status == 200, f"{self.name}: no terms from the orchestrator: {answer.status} {answer.message}")

    def account(self) -> Account | None:
        """The orchestrator's books of this session."""
        return self.orchestrator.accounts.get(self.session.manifest_id)

    async def cycle(self, expect: Iterable[int] = (200, 482)) -> Paid:
        """One payment cycle, with its row in the table."""
        story = self.story
        self.orchestrator.meter_all()
        paid = await self.session.pay()
        what = _in_words(paid)
        story.refreshes += paid.refreshed
        story.check(paid.status in expect, f"{self.name}: status {paid.status} ({paid.message}), expected one of {tuple(expect)}")
        if paid.status == 200:
            story.payments += 1
            story.check(paid.delivered == 200, f"{self.name}: the orchestrator refused a payment: {paid.refusal}")
        story.skips += paid.status == 482
        story.price_refusals += paid.status == 481
        self._row(paid.status, what, paid.nonces)
        return paid

    async def run(self, cycles: int, interval_seconds: int) -> None:
        """Pays at every interval."""
        for _ in range(cycles):
            self.story.clock.advance(interval_seconds)
            await self.cycle()

    def end(self) -> None:
        """The session is over: the orchestrator closes its books, which must never have been in the red."""
        self.orchestrator.meter_all()
        account = self.orchestrator.accounts.pop(self.session.manifest_id, None)
        if account is None:
            self.story.check(False, f"{self.name}: the orchestrator has no books of this session")
            return
        owed = float(-account.lowest / account.wei_a_second)
        self.story.check(owed <= 0, f"{self.name}: the session was {owed:.1f} s in debt at the orchestrator")

    def note(self, what: str) -> None:
        """A row without a request."""
        self._row(None, what, ())

    def _row(self, status: int | None, what: str, nonces: tuple[int, ...]) -> None:
        account = self.account()
        credit = account.balance / account.wei_a_second if account else None
        line = Line(self.story.clock.elapsed_seconds, self.name, status, what, len(nonces), nonces, credit)
        self.story.lines.append(line)
        self.story.on_line(line)


def _in_words(paid: Paid) -> str:
    prefix = "480: terms used up, fetched fresh ones; " if paid.refreshed else ""
    if paid.status == 200:
        done = "paid, orchestrator accepted" if paid.delivered == 200 else f"paid, ORCHESTRATOR REFUSED: {paid.refusal}"
        return prefix + done
    if paid.status == 482:
        return prefix + "482: credit still lasts, cycle skipped"
    if paid.status == 481:
        return prefix + "481: price above the session's first price, refused"
    return prefix + f"{paid.status}: {paid.message}"


async def tell(
    gateway: Gateway, clock: Clock, live: Orchestrator, pixels: Orchestrator, on_line: Callable[[Line], None] = lambda line: None
) -> Story:
    """All of it. `live` is paid by the second, `pixels` by the pixel."""
    story = Story(clock, on_line)
    await _live_session(story, gateway, live)
    await _pixel_session(story, gateway, pixels)
    await _json_session(story, gateway, live)
    return story


async def _live_session(story: Story, gateway: Gateway, orchestrator: Orchestrator) -> None:
    """Several minutes, paid every 10 s; old terms are kept until the signer asks for fresh ones."""
    scene = Scene("live", story, Session(gateway, orchestrator.url, "live"), orchestrator)
    await scene.begin()
    await scene.cycle((200,))
    await scene.run(14, LIVE_INTERVAL_SECONDS)
    if scene.session.last_request["state"] is not None:
        await _same_request_again(scene)
        await _tampered_state(scene)
        await _forgeries(scene)
    await scene.run(10, LIVE_INTERVAL_SECONDS)
    offer = orchestrator.offer
    orchestrator.offer = offer._replace(price_per_unit=offer.price_per_unit * 6 // 5)
    scene.note("the orchestrator raises its price by a fifth")
    while story.clock.elapsed_seconds < 600:
        story.clock.advance(LIVE_INTERVAL_SECONDS)
        paid = await scene.cycle((200, 482, 481))
        if paid.status == 481:
            break
    story.check(story.price_refusals == 1, "the raised price was not refused")
    scene.end()
    fresh = Scene("live 2", story, Session(gateway, orchestrator.url, "live"), orchestrator)
    await fresh.begin()
    fresh.note("the gateway accepts the new price: a new session, without state")
    await fresh.cycle((200,))
    await fresh.run(3, LIVE_INTERVAL_SECONDS)
    fresh.end()


async def _pixel_session(story: Story, gateway: Gateway, orchestrator: Orchestrator) -> None:
    """Live video by the pixel; the fresh terms of each payment's reply are used for the next one."""
    scene = Scene("lv2v", story, Session(gateway, orchestrator.url, "lv2v", takes_new_terms=True), orchestrator)
    await scene.begin()
    await scene.cycle((200,))
    await scene.run(7, LV2V_INTERVAL_SECONDS)
    scene.end()


async def _json_session(story: Story, gateway: Gateway, orchestrator: Orchestrator) -> None:
    """The same over /signTicket, in JSON throughout, called when the reply says."""
    scene = Scene("json", story, Session(gateway, orchestrator.url, "live", "/signTicket"), orchestrator)
    await scene.begin()
    await scene.cycle((200,))
    for _ in range(6):
        story.clock.advance(max(1, int(scene.session.last_reply.get("nextPaymentInSeconds", LIVE_INTERVAL_SECONDS))))
        await scene.cycle()
    scene.end()


async def _same_request_again(scene: Scene) -> None:
    """A state that was already used, sent again: the very same tickets come back, and are worth nothing twice."""
    story, session = scene.story, scene.session
    again = await session.gateway.ask(session.route, session.last_request)
    if again.status == 482:
        scene.note("a used state sent again: 482, nothing new is signed")
        return
    same = again.status == 200 and again.body.get("payment") == session.last_reply.get("payment")
    story.check(same, f"{scene.name}: a used state sent again gave status {again.status}, or other tickets")
    if not same:
        return
    delivered = await session.gateway.deliver(session.url, again.body["payment"], again.body["segCreds"])
    story.check("already seen" in delivered.text, f"{scene.name}: the orchestrator took the same tickets twice")
    story.attacks += 1
    scene.note("a used state sent again: the same tickets; the orchestrator has seen them")


async def _tampered_state(scene: Scene) -> None:
    """A state whose balance somebody raised."""
    request = scene.session.last_request
    state = base64.b64decode(request["state"]["State"]).replace(b'"Balance":"', b'"Balance":"9')
    forged = {**request, "state": {**request["state"], "State": base64.b64encode(state).decode()}}
    answer = await scene.session.gateway.ask(scene.session.route, forged)
    scene.story.check(answer.status == 400, f"{scene.name}: a tampered state gave status {answer.status}")
    scene.story.attacks += 1
    scene.note(f"a state with a forged balance: {answer.status}, {answer.message}")


async def _forgeries(scene: Scene) -> None:
    """That the orchestrator judges at all: good payments spoiled in one place each must be refused."""
    reply = scene.session.last_reply
    for name, spoiled in spoil(base64.b64decode(reply["payment"])):
        header = base64.b64encode(spoiled).decode()
        response = await scene.session.gateway.deliver(scene.session.url, header, reply["segCreds"])
        scene.story.check(response.status_code == 400, f"{scene.name}: the orchestrator took a payment with {name}")
        scene.story.attacks += 1
        scene.note(f"spoiled payment ({name}): orchestrator refused")


def spoil(payment: bytes) -> list[tuple[str, bytes]]:
    """Copies of a good payment, each with one fault that a recipient must find."""
    spoiled = []

    def copy(name: str) -> net_pb2.Payment:
        message = net_pb2.Payment.FromString(payment)
        spoiled.append((name, message))
        return message

    ticket = copy("the second encoding of a signature").ticket_sender_params[0]
    s = CURVE_ORDER - int.from_bytes(ticket.sig[32:64], "big")
    ticket.sig = ticket.sig[:32] + s.to_bytes(32, "big") + bytes([55 - ticket.sig[64]])
    copy("a higher nonce than was signed").ticket_sender_params[0].sender_nonce += 100
    changed = copy("another face value").ticket_params
    changed.face_value = (int.from_bytes(changed.face_value, "big") // 2).to_bytes(32, "big").lstrip(b"\0")
    copy("a lower price").expected_price.pricePerUnit -= 1
    return [(name, message.SerializeToString()) for name, message in spoiled]


def pixel_price(wei_a_second: int) -> int:
    """The price of a pixel that makes a second of lv2v cost this much."""
    return wei_a_second // PIXELS_A_SECOND
