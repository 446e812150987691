"""Composition of who may spend, and who may be paid: identification, webhook, recipients, guard. Part of `app`.

What is not configured is not imported.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from livepeer_remote_signer.adapters.keys import read_secret_file
from livepeer_remote_signer.adapters.outbound import Outbound
from livepeer_remote_signer.adapters.readiness import Authority
from livepeer_remote_signer.config.auth import AuthConfig, GuardConfig, JwtConfig, WebhookConfig
from livepeer_remote_signer.config.in_force import required_recipients
from livepeer_remote_signer.config.loading import ConfigError
from livepeer_remote_signer.config.models import Config
from livepeer_remote_signer.core.rules.api_keys import KeysFileError
from livepeer_remote_signer.core.rules.chain import ChainView
from livepeer_remote_signer.core.rules.guard import OrchestratorGuard
from livepeer_remote_signer.core.rules.recipients import RecipientRules
from livepeer_remote_signer.core.rules.senders import BySender
from livepeer_remote_signer.service.byoc import ByocKey, ByocSigner
from livepeer_remote_signer.service.queries import FetchInfo, OrchestratorQuestions
from livepeer_remote_signer.service.seams import Identifier
from livepeer_remote_signer.wiring.chain import ChainParts

if TYPE_CHECKING:
    from livepeer_remote_signer.adapters.auth.identifier import KeyVerifier
    from livepeer_remote_signer.adapters.auth.jwt import JwtVerifier
    from livepeer_remote_signer.adapters.auth.webhook import WebhookAuthorizer
    from livepeer_remote_signer.adapters.ledger.running import RunningLedger
    from livepeer_remote_signer.adapters.ledger.users import Users
    from livepeer_remote_signer.adapters.recipients import RecipientRegistry

_BINDING_PURPOSE = b"verdicts bound to credentials"


class AuthParts(NamedTuple):
    """Who is asked before a signature is made; None: nobody. `closers` end the connections to webhook and token issuer; `authorities` are
    what readiness looks at, by the key that configures each."""

    identifier: Identifier | None
    authorizer: WebhookAuthorizer | None
    closers: tuple[Callable[[], Awaitable[None]], ...]
    authorities: Mapping[str, Authority]


def open_auth(config: AuthConfig, mac_key: bytes, outbound: Outbound, users: Users | None, view: Callable[[], ChainView]) -> AuthParts:
    """What `auth` configures. Raises ConfigError, or SigningKeyError for the secret file."""
    closers: list[Callable[[], Awaitable[None]]] = []
    keys: KeyVerifier | None = None
    file = kept = tokens = authorizer = identifier = None
    try:
        if config.api_keys_file is not None:
            from livepeer_remote_signer.adapters.auth.api_keys import ApiKeys, with_path

            try:
                keys = file = ApiKeys(config.api_keys_file)
            except KeysFileError as error:
                raise ConfigError(f"auth.api_keys_file {with_path(error, config.api_keys_file)}") from None
        if config.api_keys_in_ledger and users is not None:
            from livepeer_remote_signer.adapters.auth.ledger_keys import LedgerKeys

            keys = kept = LedgerKeys(users, file)
        if config.jwt is not None:
            tokens = _open_tokens(config.jwt, outbound)
            closers.append(tokens.aclose)
        if config.webhook is not None:
            authorizer = _open_webhook(config.webhook, mac_key, outbound)
            closers.append(authorizer.aclose)
        if keys is not None or tokens is not None or config.trusted_proxies or config.namespaces:
            from livepeer_remote_signer.adapters.auth.identifier import CallerIdentifier

            identifier = CallerIdentifier(
                keys=keys,
                tokens=tokens,
                trusted_proxies=config.trusted_proxies,
                namespaces=config.namespaces,
                view=view,
            )
    except ValueError as error:
        raise ConfigError(f"auth: {error}") from None
    asked = {"auth.api_keys_file": file, "auth.api_keys_in_ledger": kept, "auth.jwt": tokens, "auth.webhook": authorizer}
    return AuthParts(identifier, authorizer, tuple(closers), {key: part for key, part in asked.items() if part is not None})


def _open_tokens(config: JwtConfig, outbound: Outbound) -> JwtVerifier:
    from livepeer_remote_signer.adapters.auth.jwt import JwksKeys, JwtVerifier

    return JwtVerifier(
        JwksKeys(config.issuer, config.jwks_url, outbound=outbound),
        issuer=config.issuer,
        audience=config.audience,
        auth_id_claim=config.auth_id_claim,
        clock_skew_seconds=config.clock_skew_seconds,
    )


def _open_webhook(config: WebhookConfig, mac_key: bytes, outbound: Outbound) -> WebhookAuthorizer:
    from livepeer_remote_signer.adapters.auth.webhook import WebhookAuthorizer

    secret = config.secret.get_secret_value() if config.secret is not None else None
    if config.secret_file is not None:
        secret = read_secret_file(config.secret_file, "auth.webhook.secret_file")
    return WebhookAuthorizer(
        config.url,
        secret=secret,
        headers={name: value.get_secret_value() for name, value in config.headers.items()},
        timeout_seconds=config.timeout_seconds,
        binding_key=hmac.digest(mac_key, _BINDING_PURPOSE, "sha256") if config.bind_verdicts else None,
        max_expiry_seconds=config.max_expiry_seconds,
        outbound=outbound,
    )


def open_byoc(config: Config, auth: AuthParts, ledger: RunningLedger | None, keys: BySender[ByocKey]) -> ByocSigner | None:
    """Signs BYOC jobs for those who may pay, where that is configured."""
    if not config.byoc_jobs:
        return None
    return ByocSigner(
        keys,
        identifier=auth.identifier,
        authorizer=auth.authorizer,
        switches=ledger.controls if ledger else None,
        requires_auth_id=config.auth.require_auth_id,
    )


def open_questions(config: Config, auth: AuthParts, fetch: BySender[FetchInfo]) -> OrchestratorQuestions:
    """Asks orchestrators for those who may; the webhook is asked only where that is configured."""
    asks_webhook = config.auth.webhook is not None and config.auth.webhook.ask_for_orchestrator_info
    return OrchestratorQuestions(
        fetch, identifier=auth.identifier, authorizer=auth.authorizer if asks_webhook else None, fair_share=config.limits.fair_share
    )


def open_recipients(config: Config, chain: ChainParts) -> RecipientRegistry | None:
    """What `recipients` configures, None where anybody may be paid who names himself consistently. Raises ConfigError.

    `registered` where the chain is live and nothing else is said.
    """
    recipients, is_live = config.recipients, config.chain.source == "rpc"
    require = required_recipients(config)
    if require == "any" and not recipients.allow and not recipients.deny and recipients.guard is None:
        return None
    from livepeer_remote_signer.adapters.recipients import RecipientRegistry

    reader = None
    if is_live and chain.rpc is not None and require != "any":
        from livepeer_remote_signer.adapters.chain.transcoders import Transcoders

        reader = Transcoders(chain.rpc.for_callers)
    try:
        return RecipientRegistry(
            RecipientRules(frozenset(recipients.allow), frozenset(recipients.deny)),
            require=require,
            reader=reader,
            view=chain.source.view,
            guard=_open_guard(recipients.guard) if recipients.guard is not None else None,
        )
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _open_guard(config: GuardConfig) -> OrchestratorGuard:
    return OrchestratorGuard(
        window_seconds=config.window_seconds,
        pause_seconds=config.pause_seconds,
        max_abandoned_sessions=config.max_abandoned_sessions,
        max_spend_wei=config.max_spend_wei,
    )
