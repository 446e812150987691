"""`advise URL`: what sessions with an orchestrator would come to, told before the first payment. Nothing is signed but the question."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from typing import Any

from livepeer_remote_signer.commands.chosen_key import add_key_option, read_config_of_key
from livepeer_remote_signer.config.models import Config
from livepeer_remote_signer.core.errors import SignerError
from livepeer_remote_signer.core.protocol.amounts import rat_string
from livepeer_remote_signer.core.protocol.wire import OrchestratorInfo, parse_orchestrator_info
from livepeer_remote_signer.core.rules.advice import Advice, Means, Offer, advise, describe


def add_parsers(subparsers: Any) -> None:
    """Adds this module's command."""
    parser = subparsers.add_parser(
        "advise",
        help="ask an orchestrator for its terms, and say what sessions with it would come to",
        description="Asks an orchestrator for price and ticket params, as a gateway does, and holds them against limits, deposit, reserve, "
        "payment interval and headroom. Signs no ticket. Exits 1 when its sessions would be refused or lapse.",
    )
    parser.add_argument("url", metavar="URL", help="the orchestrator, https://host:port")
    parser.add_argument("--config", required=True, metavar="FILE", help="the YAML configuration")
    add_key_option(parser)
    parser.add_argument(
        "--type", choices=("live", "lv2v", "fixed"), default="live", help="what its price is one of: a second, a pixel, a job"
    )
    parser.add_argument(
        "--route",
        choices=("generate-live-payment", "signTicket"),
        default="generate-live-payment",
        help="the route that sessions are paid on, whose headroom counts",
    )
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(run=run_advise)


def run_advise(arguments: argparse.Namespace) -> int:
    """0 for terms that fit, 1 where sessions would be refused or lapse or nobody answers, 2 for a configuration that cannot be used."""
    config = read_config_of_key(arguments)
    if config is None:
        return 2
    from livepeer_remote_signer.adapters.keys import SigningKeyError

    try:
        info, means = asyncio.run(_ask(config, arguments.url, arguments.route))
        terms = parse_orchestrator_info(info)
    except SigningKeyError as error:
        print(f"{arguments.config}: {error}", file=sys.stderr)
        return 2
    except SignerError as error:
        print(f"{arguments.url}: {error.message}", file=sys.stderr)
        return 1
    if not terms.ev:
        print(f"{arguments.url}: its tickets are worth nothing: nothing can be paid with them", file=sys.stderr)
        return 1
    advice = advise(Offer(arguments.type, terms.price, terms.ev, terms.ticket_params.face_value), means)
    if arguments.json:
        print(json.dumps({"terms": _terms(terms), **describe(advice)}, indent=2))
    else:
        _print(terms, advice)
    return 1 if advice.verdict in ("refused", "lapses") else 0


async def _ask(config: Config, url: str, route: str) -> tuple[bytes, Means]:
    """The orchestrator's answer, and what its terms are held against."""
    from livepeer_remote_signer.wiring.advising import open_advisor
    from livepeer_remote_signer.wiring.chain import open_chain
    from livepeer_remote_signer.wiring.keys import open_info_signature, open_sender
    from livepeer_remote_signer.wiring.orchestrators import open_queries
    from livepeer_remote_signer.wiring.outbound import open_outbound

    outbound = open_outbound(config.outbound)
    sender = open_sender(config.key, config.state, outbound)
    chain = open_chain(config, sender.address, outbound)
    queries = open_queries(config, sender.address, open_info_signature(sender))
    try:
        if chain.rpc is not None:
            await chain.rpc.poll()
        headroom = config.headroom_seconds
        ahead = headroom.generate_live_payment if route == "generate-live-payment" else headroom.sign_ticket
        return await queries.fetch_info(url, b""), open_advisor(config, chain.source, ahead).with_funds()
    finally:
        await queries.aclose()
        if sender.outside is not None:
            await sender.outside.stop()
        if chain.rpc is not None:
            await chain.rpc.stop()


def _terms(info: OrchestratorInfo) -> dict[str, str]:
    return {
        "orchestrator": "0x" + info.address.hex(),
        "price": rat_string(info.price),
        "ticketEv": rat_string(info.ev),
        "faceValue": str(info.ticket_params.face_value),
    }


def _print(info: OrchestratorInfo, advice: Advice) -> None:
    shown = describe(advice)
    findings = shown.pop("findings")
    for name, value in {**_terms(info), **shown}.items():
        if value is not None:
            print(f"{name:<22} {value}")
    for finding in findings:
        print(f"{finding['kind']:<10} {finding['message']}\n{'':<10} -> {finding['hint']}")
