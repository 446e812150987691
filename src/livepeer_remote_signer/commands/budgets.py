"""`budgets` and `audit`: what may be spent by whom, changed while the service runs, and who changed what."""

from __future__ import annotations

import argparse
import json
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from livepeer_remote_signer.commands.ledger import author, time_text, with_controls
from livepeer_remote_signer.commands.serve import positive
from livepeer_remote_signer.config.models import Config
from livepeer_remote_signer.core.rules.audit import admin_request_key
from livepeer_remote_signer.core.rules.budgets import WINDOW_SECONDS
from livepeer_remote_signer.core.rules.runtime_budgets import BudgetChange, Step, budget_name, parse_limit

if TYPE_CHECKING:
    from livepeer_remote_signer.adapters.ledger.controls import Controls

_STEPS: tuple[tuple[Step, str], ...] = (
    ("set", "set the budget of one auth id"),
    ("top-up", "raise the budget of one auth id by an amount"),
    ("reset", "take the budget of one auth id back: the configuration's is in force again"),
)


def add_parsers(subparsers: Any) -> None:
    """Adds this module's commands."""
    budgets = subparsers.add_parser(
        "budgets",
        help="show how full budgets are and which kill switches are set; set and top up budgets of single auth ids",
        description="Without a further command: prints every budget for every spender that it was counted for, fullest first, and the "
        "kill switches.",
    )
    budgets.add_argument("--config", metavar="FILE", help="the YAML configuration")
    budgets.add_argument("--auth-id", metavar="ID", help="the budgets that hold for this auth id, used or not")
    budgets.add_argument("--json", action="store_true", help="as one JSON object")
    budgets.set_defaults(run=run_budgets, parser=budgets)
    commands = budgets.add_subparsers(dest="budgets_command", metavar="COMMAND")
    for step, told in _STEPS:
        command = commands.add_parser(step, help=told, description=f"{told.capitalize()}; every running signer follows within a second.")
        command.add_argument("--config", required=True, metavar="FILE", help="the YAML configuration")
        command.add_argument("--auth-id", required=True, metavar="ID", help="whose budget, as its payments are made under")
        command.add_argument(
            "--window", required=True, choices=("total", *WINDOW_SECONDS), help="all its payments, or those within a window"
        )
        command.add_argument("--measure", default="ev", choices=("ev", "face_value"), help="what a payment counts for (default: ev)")
        if step != "reset":
            command.add_argument("--amount", required=True, metavar="WEI", help="wei, or such as 0.05eth: the limit, or how much more")
        if step == "top-up":
            command.add_argument("--idempotency-key", default="", metavar="KEY", help="the same key again adds nothing")
        command.set_defaults(run=run_change, step=step)
    audit = subparsers.add_parser(
        "audit",
        help="show who changed what",
        description="Prints changes of keys, budgets, kill switches and prices that were made while the signer ran, the newest first.",
    )
    audit.add_argument("--config", required=True, metavar="FILE", help="the YAML configuration")
    audit.add_argument("--auth-id", metavar="ID", help="what concerns this auth id alone")
    audit.add_argument("--limit", type=positive, default=100, metavar="N", help="at most so many lines (default: 100)")
    audit.add_argument("--json", action="store_true", help="as JSON")
    audit.set_defaults(run=run_audit)


def run_budgets(arguments: argparse.Namespace) -> int:
    """Prints budgets and switches."""
    if arguments.config is None:
        arguments.parser.error("the following arguments are required: --config")

    async def show(controls: Controls, config: Config) -> int:
        if arguments.auth_id is not None:
            await _show_one(controls, arguments.auth_id, arguments.json)
            return 0
        uses = [use.describe() for use in await controls.usage()]
        switches = [{"auth_id": switch.auth_id, "since": time_text(switch.set_ms)} for switch in await controls.switches()]
        if arguments.json:
            print(json.dumps({"budgets": uses, "suspended": switches}, indent=2))
            return 0
        for switch in switches:
            who = "all payments" if switch["auth_id"] is None else f"auth id {switch['auth_id']!r}"
            print(f"suspended since {switch['since']}: {who}")
        if not config.budgets and not controls.users.budgets:
            print("no budgets are configured")
        elif not uses:
            print("nothing was counted for the configured budgets yet")
        _print_uses(uses, as_json=False)
        return 0

    return with_controls(arguments, show)


async def _show_one(controls: Controls, auth_id: str, as_json: bool) -> None:
    uses = await controls.budgets_of(auth_id)
    _print_uses([use.describe() | {"source": controls.users.source_of(use.budget, auth_id)} for use in uses], as_json)


def _print_uses(uses: list[dict[str, str]], as_json: bool) -> None:
    if as_json:
        print(json.dumps({"budgets": uses}, indent=2))
        return
    for use in uses:
        name = f"{use['scope']} {use['id']!r}" if use["id"] else use["scope"]
        source = f" ({use['source']})" if "source" in use else ""
        amounts = f"{use['spent_wei']} of {use['limit_wei']} wei spent, {use['left_wei']} left"
        print(f"{name}, {use['measure']} per {use['window']}: {amounts}{source}")


def run_change(arguments: argparse.Namespace) -> int:
    """Changes one budget; 1 where the configuration does not allow it."""

    async def change(controls: Controls, _: Config) -> int:
        name = budget_name(arguments.auth_id, arguments.window, arguments.measure, "--auth-id")
        wei = 0 if arguments.step == "reset" else parse_limit(arguments.amount, "--amount")
        asked = BudgetChange(arguments.step, name, wei)
        key = admin_request_key(getattr(arguments, "idempotency_key", "").encode())
        request = controls.users.request(author(), key, sha256(repr(asked).encode()).digest())
        await controls.users.change_budgets([asked], request, may_raise=True)
        await _show_one(controls, arguments.auth_id, as_json=False)
        return 0

    return with_controls(arguments, change)


def run_audit(arguments: argparse.Namespace) -> int:
    """Prints the audit log."""

    async def show(controls: Controls, _: Config) -> int:
        entries = [entry.describe() for entry in await controls.users.audit(None, arguments.limit, arguments.auth_id)]
        if arguments.json:
            print(json.dumps(entries, indent=2))
            return 0
        for entry in entries:
            whose = f" of {entry['auth_id']!r}" if entry["auth_id"] is not None else ""
            change = f"{_value(entry['before'])} -> {_value(entry['after'])}"
            print(f"{entry['time']}  {entry['by']}  {entry['action']} {entry['subject']}{whose}: {change}")
        return 0

    return with_controls(arguments, show)


def _value(value: Any) -> str:
    return "nothing" if value is None else value if isinstance(value, str) else json.dumps(value)
