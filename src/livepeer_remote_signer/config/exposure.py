"""What a configuration leaves open, in ETH an hour: for `check-config`, for the log at the start, and for the documents."""

from __future__ import annotations

from collections.abc import Iterator

from livepeer_remote_signer.config.ledger import budgets_of
from livepeer_remote_signer.config.models import Config
from livepeer_remote_signer.core.rules.exposure import Exposure, budget_bound, signing_bound


def most_in_an_hour(config: Config, processes: int = 1) -> Exposure:
    """What one caller in league with an orchestrator can take within an hour."""
    signed = signing_bound(config.limits.max_ticket_ev_wei, processes)
    budgeted = budget_bound(budgets_of(config.budgets)) if config.ledger.backend != "none" else None
    return signed if budgeted is None else min(signed, budgeted)


def missing_bounds(config: Config, processes: int = 1) -> Iterator[str]:
    """A sentence for each bound that is not set."""
    most = most_in_an_hour(config, processes).text
    if not config.auth.is_configured:
        yield f"nobody is asked before signing (auth): whoever reaches {config.listen} can take up to {most}"
    if config.ledger.backend == "none":
        yield f"nothing counts what is spent (ledger.backend none): a caller in league with an orchestrator can take up to {most}"
    elif budget_bound(budgets_of(config.budgets)) is None:
        yield (
            'no budget holds for every caller (budgets of scope global, or auth_id with match "*"): a caller in league with an '
            f"orchestrator can take up to {most}"
        )
    if config.admin is not None and config.admin.manage_users and not any(budget.scope == "global" for budget in config.budgets):
        yield (
            "no budget of scope global bounds what budgets are raised to (admin.manage_users): whoever has the admin token can take up to "
            + signing_bound(config.limits.max_ticket_ev_wei, processes).text
        )
    prices = config.prices
    amounts = (prices.max_price_per_hour, prices.max_price_per_job, prices.max_price_per_unit)
    if not any(amount.value for amount in amounts) and not prices.max_price_per_capability:
        yield (
            "no price is too high (prices.max_price_per_hour, prices.max_price_per_job): an honest caller pays what an orchestrator asks, "
            f"up to {most}"
        )
