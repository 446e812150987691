"""The exchange rate of a Chainlink AggregatorV3 feed, read in the chain's own poll.

Source: section 10 of the protocol. The answer must be positive, its round complete and not older than its limit, and the
feed's description must name ETH and the currency; go-livepeer checks none of these. The rate is an exact rational. What
must not be used ends the last rate too; a read that fails says nothing about it, and its age decides.

One RPC endpoint must not make the price: most of those that are believed must agree, within a factor. Where two
contradict each other, the one that agrees with the last rate counts. Of one endpoint alone a jump beyond the factor is
taken when three readings in a row agree on it.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import NamedTuple

from livepeer_remote_signer.adapters.chain.abi import AnswerFault, Call, call_data, read_text, read_word, read_words
from livepeer_remote_signer.adapters.chain.reading import Word, without_figures
from livepeer_remote_signer.core.protocol.amounts import float_string
from livepeer_remote_signer.core.rules.ceilings import Rate

MAX_DECIMALS = 36
MAX_AHEAD_SECONDS = 60
MAX_JUMP_FACTOR = Fraction(2)
READINGS_OF_A_JUMP = 3
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


class _Heard(NamedTuple):
    """What one endpoint says the feed says; `answer` None: it must not be used, for the reason in `fault`."""

    word: Word
    answer: FeedAnswer | None
    fault: str


class PriceFeed:
    """The last believed answer of one feed. `rate` is a memory read."""

    def __init__(
        self,
        address: bytes,
        max_age_seconds: float,
        wall_clock: Callable[[], float] = time.time,
        *,
        max_jump_factor: Fraction = MAX_JUMP_FACTOR,
    ) -> None:
        self.calls = tuple(Call(address, call_data(s)) for s in ("latestRoundData()", "decimals()", "description()"))
        self._max_age = max_age_seconds
        self._wall_clock = wall_clock
        self._factor = max_jump_factor
        self._answer: FeedAnswer | None = None
        self._jumps: list[FeedAnswer] = []
        self._chain_ahead = 0.0
        self._fault = "not read yet"

    def accept(self, words: Sequence[Word]) -> None:
        """Takes what the feed's calls returned at every believed endpoint, in order of preference."""
        heard, faults = [], []
        for word in words:
            try:
                heard.append(_Heard(word, parse_feed(word.answers, max(self._wall_clock(), word.head_timestamp)), ""))
            except FeedRefused as fault:
                heard.append(_Heard(word, None, str(fault)))
            except AnswerFault as fault:
                faults.append(str(fault))
        if not heard:
            self._note_fault("cannot be read", *faults[:1])
            return
        chosen = self._choose(heard)
        if chosen is None:
            return
        if chosen.answer is None:
            self._note_fault("is not believed", chosen.fault)
            self._answer = None
            return
        self._fault = ""
        self._jumps = []
        self._chain_ahead = max(0.0, chosen.word.head_timestamp - self._wall_clock())
        if chosen.answer != self._answer:
            self._answer = chosen.answer

    def _choose(self, heard: Sequence[_Heard]) -> _Heard | None:
        """Whose word counts; None: nobody's, the last rate stays."""
        groups = [[other for other in heard if self._do_agree(one.answer, other.answer)] for one in heard]
        largest = max(groups, key=len)
        if len(heard) == 1:
            return heard[0] if self._may_follow(heard[0].answer) else None
        if 2 * len(largest) > len(heard):
            return largest[0]
        as_before = [one for one in heard if self._answer is not None and self._do_agree(one.answer, self._answer)]
        if as_before and all(self._do_agree(as_before[0].answer, one.answer) for one in as_before):
            return as_before[0]
        self._note_fault("is not believed", "; ".join(f"{one.word.endpoint} says {_said(one)}" for one in heard))
        return None

    def _do_agree(self, one: FeedAnswer | None, other: FeedAnswer | None) -> bool:
        """Whether both say the same, as near as the factor allows; None: that the feed must not be used."""
        if one is None or other is None:
            return one is other
        low, high = sorted((one.rate.per_eth, other.rate.per_eth))
        return one.rate.currency == other.rate.currency and high <= low * self._factor

    def _may_follow(self, answer: FeedAnswer | None) -> bool:
        """Whether one endpoint's word alone may follow the last rate."""
        if answer is None or self._answer is None or self._do_agree(answer, self._answer):
            return True
        if self._jumps and not self._do_agree(answer, self._jumps[0]):
            self._jumps = []
        self._jumps.append(answer)
        if len(self._jumps) >= READINGS_OF_A_JUMP:
            log.warning("the price feed's jump to %s is taken: %d readings agree", _figure(answer), len(self._jumps))
            return True
        self._note_fault(
            "is not believed",
            f"it jumped from {_figure(self._answer)} to {_figure(answer)}, by more than the factor {float(self._factor):g} "
            f"(prices.currency_feed.max_jump_factor): {READINGS_OF_A_JUMP} readings must agree, or a second RPC endpoint",
        )
        return False

    def _note_fault(self, verdict: str, fault: str) -> None:
        if without_figures(self._fault) != without_figures(fault):
            log.warning("the price feed %s: %s", verdict, fault)
        self._fault = fault

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
        return FeedStatus(None, age, self._max_age, fault + (f"; no newer one is taken: {self._fault}" if self._fault else ""))

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


def _said(heard: _Heard) -> str:
    return heard.fault if heard.answer is None else _figure(heard.answer)


def _figure(answer: FeedAnswer) -> str:
    return f"{float_string(answer.rate.per_eth, 2)} {answer.rate.currency.upper()} for 1 ETH"
