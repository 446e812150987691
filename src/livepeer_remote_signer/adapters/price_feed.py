"""The exchange rate of a Chainlink AggregatorV3 feed, read in the chain's own poll.

Source: section 10 of the protocol. The answer must be positive, its round complete and not older than its limit, and the
feed's description must name ETH and the currency; go-livepeer checks none of these. The rate is an exact rational. What
must not be used ends the last rate too; a read that fails says nothing about it, and its age decides.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import NamedTuple

from livepeer_remote_signer.adapters.chain.abi import AnswerFault, Call, call_data, read_text, read_word, read_words
from livepeer_remote_signer.core.rules.ceilings import Rate

MAX_DECIMALS = 36
MAX_AHEAD_SECONDS = 60
_PAIR = re.compile(r"\s*([A-Za-z]{2,10})\s*/\s*([A-Za-z]{2,10})\s*")

log = logging.getLogger(__name__)


class FeedRefused(AnswerFault):
    """The feed was read, and what it says must not be used."""


class FeedAnswer(NamedTuple):
    """What the feed said: `updated_at` is its own time, in unix seconds."""

    rate: Rate
    updated_at: int


class FeedStatus(NamedTuple):
    """Plain values for metrics and readiness. `fault` is empty while there is a fresh rate."""

    rate: Rate | None
    age_seconds: float | None
    max_age_seconds: float
    fault: str


class PriceFeed:
    """The last believed answer of one feed. `rate` is a memory read."""

    def __init__(self, address: bytes, max_age_seconds: float, wall_clock: Callable[[], float] = time.time) -> None:
        self.calls = tuple(Call(address, call_data(s)) for s in ("latestRoundData()", "decimals()", "description()"))
        self._max_age = max_age_seconds
        self._wall_clock = wall_clock
        self._answer: FeedAnswer | None = None
        self._chain_ahead = 0.0
        self._fault = "not read yet"

    def accept(self, answers: Sequence[bytes | None], head_timestamp: int) -> None:
        """Takes what the feed's calls returned at a block of that time."""
        wall = self._wall_clock()
        try:
            answer = parse_feed(answers, max(wall, head_timestamp))
        except AnswerFault as fault:
            is_refused = isinstance(fault, FeedRefused)
            if self._fault != str(fault):
                log.warning("the price feed %s: %s", "is not believed" if is_refused else "cannot be read", fault)
            self._fault = str(fault)
            if is_refused:
                self._answer = None
            return
        self._fault = ""
        self._chain_ahead = max(0.0, head_timestamp - wall)
        if answer != self._answer:
            self._answer = answer

    def rate(self) -> Rate | None:
        """The rate; None when there is none or it is older than its limit. The same object until the feed changes."""
        if self._answer is None or self._age(self._answer) > self._max_age:
            return None
        return self._answer.rate

    def usd_per_eth(self) -> Fraction | None:
        """The rate where the feed quotes USD; None for another currency, and without a rate."""
        now = self.rate()
        return now.per_eth if now is not None and now.currency == "usd" else None

    def status(self) -> FeedStatus:
        """What metrics and readiness show."""
        if self._answer is None:
            return FeedStatus(None, None, self._max_age, self._fault)
        age = self._age(self._answer)
        if age <= self._max_age:
            return FeedStatus(self._answer.rate, age, self._max_age, "")
        fault = f"its answer is {age:.0f} s old, the limit is {self._max_age:g} s (prices.currency_feed.max_age_seconds)"
        return FeedStatus(None, age, self._max_age, fault + (f"; it cannot be read: {self._fault}" if self._fault else ""))

    def _age(self, answer: FeedAnswer) -> float:
        """Against whichever clock is ahead, ours or the chain's."""
        return self._wall_clock() + self._chain_ahead - answer.updated_at


def parse_feed(answers: Sequence[bytes | None], now: float) -> FeedAnswer:
    """The rate that latestRoundData, decimals and description tell. Raises FeedRefused, and AnswerFault when they cannot be read."""
    round_id, raw, _started_at, updated_at, answered_in = read_words(answers[0], 5, "latestRoundData")
    decimals = read_word(answers[1], "decimals")
    pair = _PAIR.fullmatch(read_text(answers[2], "description"))
    if raw == 0 or raw >> 255:
        raise FeedRefused("its answer is not positive")
    if updated_at == 0 or answered_in < round_id:
        raise FeedRefused("its latest round is not complete")
    if updated_at > now + MAX_AHEAD_SECONDS:
        raise FeedRefused(f"its answer is of {updated_at}, in the future")
    if decimals > MAX_DECIMALS:
        raise FeedRefused(f"its {decimals} decimals are more than {MAX_DECIMALS}")
    value = Fraction(raw, 10**decimals)
    base, quote = (pair[1].lower(), pair[2].lower()) if pair else ("", "")
    if base == "eth" and quote != "eth":
        return FeedAnswer(Rate(quote, value), updated_at)
    if quote == "eth" and base:
        return FeedAnswer(Rate(base, 1 / value), updated_at)
    raise FeedRefused("its description is no pair with ETH, such as ETH / USD")
