"""Composition of what web pages may do. Part of `app`."""

from __future__ import annotations

from livepeer_remote_signer.api.pages import PageRules
from livepeer_remote_signer.config.models import Config

_PAYING = ("/generate-live-payment", "/signTicket", "/sign-byoc-job")
_KNOWN_CALLERS = ("/sign-orchestrator-info", "/getOrchestratorInfo", "/discover-orchestrators")


def open_pages(config: Config) -> PageRules:
    """Which routes ask somebody: a credential of ours is demanded on all that sign or list, the webhook is asked before payments."""
    asked: tuple[str, ...] = _PAYING if config.auth.is_configured else ()
    if config.auth.webhook is not None and config.auth.webhook.ask_for_orchestrator_info:
        asked = (*asked, "/getOrchestratorInfo")
    return PageRules(
        allow_origins=config.cors.allow_origins,
        allowed_hosts=config.allowed_hosts,
        asked_paths=(*asked, *_KNOWN_CALLERS) if config.auth.demands_credential else asked,
        is_loopback=config.listen.is_loopback,
    )
