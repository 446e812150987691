"""The story as a table and a summary for people."""

from __future__ import annotations

from collections.abc import Iterator

from livepeer_remote_signer.simulate.story import Line, Story

_HEAD = f"{'time':>6}  {'session':<7} {'tickets':>7}  {'nonces':<9} {'credit':>7}  what happened"


def head() -> Iterator[str]:
    """What is printed before anything happens."""
    yield from _INTRODUCTION
    yield ""
    yield _HEAD
    yield "-" * 100


_INTRODUCTION = (
    "A gateway without a key streams video through an orchestrator and pays for it with tickets that the signer signs.",
    "The orchestrator checks every ticket with code of its own and keeps its own books. Time runs faster than life.",
    "  tickets  how many lottery tickets this payment carries; each is worth its expected value",
    "  nonces   their numbers: never the same twice for the same terms; fresh terms start again at 1",
    "  credit   seconds of work that are paid for, by the orchestrator's books, after the payment",
    "  480      the terms or their token are used up: the gateway fetches fresh ones and asks again",
    "  481      the orchestrator asks more than the ceiling: the session does not pay it",
    "  482      the credit still lasts: nothing to pay in this cycle",
)


def row(line: Line) -> str:
    """What has just happened."""
    clock = f"{line.at_seconds // 60}:{line.at_seconds % 60:02}"
    nonces = ""
    if line.nonces:
        nonces = str(line.nonces[0]) if len(line.nonces) == 1 else f"{line.nonces[0]}-{line.nonces[-1]}"
    credit = "" if line.credit_seconds is None else f"{float(line.credit_seconds):.1f} s"
    return f"{clock:>6}  {line.session:<7} {line.tickets or '':>7}  {nonces:<9} {credit:>7}  {line.what}"


def summary(story: Story) -> Iterator[str]:
    """What it came to."""
    yield ""
    minutes, seconds = divmod(story.clock.elapsed_seconds, 60)
    tickets = sum(line.tickets for line in story.lines)
    yield f"{story.payments} payments with {tickets} tickets in {minutes} min {seconds} s of simulated time."
    yield f"{story.refreshes} times fresh terms (480), {story.skips} skipped cycles (482), {story.price_refusals} price rise refused (481)."
    yield f"{story.attacks} forged or repeated requests and payments, each refused or worth nothing."
    if story.off:
        yield f"NOT AS IT SHOULD BE ({len(story.off)}):"
        for what in story.off:
            yield f"  {what}"
    else:
        yield "All payments were accepted: every signature, nonce, price and expiry was right, and no session was ever in debt."
