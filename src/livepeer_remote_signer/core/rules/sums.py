"""The sums that are kept beside the payments: of spending by minute, of what may be drawn, of usage by day. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from livepeer_remote_signer.core.protocol.timestamps import NS_PER_SECOND
from livepeer_remote_signer.core.rules.budgets import spend_of
from livepeer_remote_signer.core.rules.figures import Figures
from livepeer_remote_signer.core.rules.ledger import OpenLines, SpendKey, SpendSum, add_spend
from livepeer_remote_signer.core.rules.payment import PaymentPlan
from livepeer_remote_signer.core.rules.signed import WINNER_BITS, DrawKey, DrawSum, add_draws, open_draws, terms_class
from livepeer_remote_signer.core.rules.tally import Tally, in_63_bits, merge_tallies
from livepeer_remote_signer.core.rules.usage import DayKey, UsageSum, add_usage, open_days

_NS_PER_MINUTE = 60 * NS_PER_SECOND


class Sums(NamedTuple):
    """Lines as they are written: each stands for the whole row."""

    spend: dict[SpendKey, SpendSum]
    draws: dict[DrawKey, DrawSum]
    days: dict[DayKey, UsageSum]


class OpenSums:
    """The lines that this process adds to."""

    def __init__(self) -> None:
        self._spend = OpenLines()
        self._draws = open_draws()
        self._days = open_days()

    def add(self, tallies: Iterable[Tally]) -> Sums:
        """The lines with these added to them. They are not gone on from before `keep` is told of them."""
        sums = Sums({}, {}, {})
        for tally in merge_tallies(tallies):
            add_spend(sums.spend, tally, self._spend)
            add_draws(sums.draws, tally, self._draws)
            add_usage(sums.days, tally, self._days)
        return sums

    def keep(self, sums: Sums) -> None:
        """Told of what is in the database now."""
        self._spend.keep(sums.spend)
        self._draws.keep(sums.draws)
        self._days.keep(sums.days)

    def begin_parts(self) -> None:
        """It is not known what was written: it may stand there, and is not to be written over."""
        for lines in (self._spend, self._draws, self._days):
            lines.begin_part()


def tally_of(plan: PaymentPlan, figures: Figures, auth_id: bytes, mark: int = 0) -> Tally:
    """What a payment adds. `mark` is that of the sender, where there are several (`core.rules.signed`)."""
    info, count = plan.session.info, plan.num_tickets
    params = info.ticket_params
    face_value, win_prob = params.face_value, params.win_prob
    ev_wei, fee_wei, billed_ns, fee_usd = figures
    fee_n, fee_d = plan.fee_ratio
    amounts = (
        spend_of(plan, "ev"),
        -(-fee_n // fee_d),
        face_value * count,
        count * win_prob >> (256 - WINNER_BITS),
        ev_wei,
        fee_wei,
        billed_ns,
        fee_usd or 0,
    )
    spent_ev, spent_fee, at_risk, winners, ev, fee, billed, usd = in_63_bits(amounts)
    return Tally(
        plan.now_ns // _NS_PER_MINUTE,
        auth_id,
        info.address,
        params.recipient,
        plan.creation_round,
        terms_class(face_value, win_prob) + mark,
        1,
        int(plan.state.sequence_number == 0),
        count,
        spent_ev,
        spent_fee,
        at_risk,
        winners,
        ev,
        fee,
        billed,
        usd,
        int(fee_usd is not None),
    )
