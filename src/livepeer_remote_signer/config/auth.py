"""Who may spend, who may be paid, and the admin listener. Every key with its type, default and meaning."""

from __future__ import annotations

from typing import Literal

from pydantic import (
    Field,
    SecretStr,
    model_validator,
)

from livepeer_remote_signer.config.secret_files import LoadedFile, NeededSecretFile, ProtectedFile, SecretFile
from livepeer_remote_signer.config.urls import HttpUrl
from livepeer_remote_signer.config.values import Address, Listen, Network, Seconds, Section, Wei, check_one_form


class WebhookConfig(Section):
    """The authorization webhook, asked before a payment is signed."""

    url: HttpUrl
    headers: dict[str, SecretStr] = Field(default_factory=dict)
    headers_file: LoadedFile = None
    secret: SecretStr | None = None
    secret_file: SecretFile = None
    timeout_seconds: Seconds = 3
    bind_verdicts: bool = False
    ask_for_orchestrator_info: bool = False
    max_expiry_seconds: int = Field(3600, ge=600)

    @model_validator(mode="after")
    def _one_form(self) -> WebhookConfig:
        check_one_form(self, "secret", "headers")
        return self


class JwtConfig(Section):
    """Bearer tokens: keys from a JWKS, or found through OIDC discovery of the issuer."""

    issuer: str
    audience: str
    jwks_url: HttpUrl | None = None
    auth_id_claim: str = "sub"
    clock_skew_seconds: int = Field(30, ge=0, le=300)


class AuthConfig(Section):
    """Who may call. Everything that is configured must agree; nothing configured: nobody is asked."""

    api_keys_file: ProtectedFile = None
    api_keys_in_ledger: bool = False
    jwt: JwtConfig | None = None
    webhook: WebhookConfig | None = None
    trusted_proxies: tuple[Network, ...] = ()
    namespaces: bool = False
    require_auth_id: bool = False
    allow_unauthenticated: bool = False

    @property
    def has_api_keys(self) -> bool:
        """Whether callers may be known by an API key."""
        return self.api_keys_file is not None or self.api_keys_in_ledger

    @property
    def demands_credential(self) -> bool:
        """Whether callers are known by a credential before anything of a request is read."""
        return self.has_api_keys or self.jwt is not None

    @property
    def is_configured(self) -> bool:
        """Whether anybody is asked before a signature is made."""
        return self.demands_credential or self.webhook is not None


class RecipientsConfig(Section):
    """Who may be paid. `None` as registered: `registered` on a live chain, `any` otherwise."""

    require: Literal["any", "registered", "active"] | None = None
    must_be_orchestrator: bool = True
    allow: tuple[Address, ...] = ()
    deny: tuple[Address, ...] = ()
    guard: GuardConfig | None = None


class GuardConfig(Section):
    """Pauses a caller's payments to an orchestrator that takes first payments and delivers nothing, or earns too fast."""

    window_seconds: Seconds = 600
    max_abandoned_sessions: int | None = Field(None, ge=1)
    max_spend_wei: Wei | None = None
    pause_seconds: Seconds = 600


class AdminConfig(Section):
    """The admin listener: own address, own token. Absent: there is none."""

    listen: Listen
    token_file: NeededSecretFile
    metrics_token_file: SecretFile = None
    public_url: HttpUrl | None = None
    trusted_proxies: tuple[Network, ...] = ()
    manage_users: bool = False
