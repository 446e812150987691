"""Asks the authorization webhook over HTTP. Only a well-formed answer that came in time is a verdict.

Source: section 9 of the protocol. No redirect is followed and no proxy of the environment is used: the question holds the
caller's credentials. The reply is read up to a bound and not decompressed, so a flood costs no memory.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256

import aiohttp
from yarl import URL

from livepeer_remote_signer.adapters.auth.breaker import CircuitBreaker
from livepeer_remote_signer.adapters.outbound import Outbound
from livepeer_remote_signer.adapters.outbound.bounded import read_bounded
from livepeer_remote_signer.adapters.outbound.headers import checked_headers
from livepeer_remote_signer.adapters.outbound.posting import Posting
from livepeer_remote_signer.adapters.outbound.reasons import connection_reason
from livepeer_remote_signer.core.errors import AuthFailed
from livepeer_remote_signer.core.protocol.byoc import ByocJob
from livepeer_remote_signer.core.rules.payment import PaymentPlan
from livepeer_remote_signer.core.rules.policy import Caller, Identity, Verdict, bind_verdict
from livepeer_remote_signer.core.rules.trail import Trail
from livepeer_remote_signer.core.rules.webhook import (
    MAX_REPLY_BYTES,
    encode_byoc_question,
    encode_query_question,
    encode_question,
    encode_usage_question,
    parse_verdict,
)

MAX_CONNECTIONS = 256


class WebhookAuthorizer:
    """The webhook behind one URL. With `binding_key` (32 bytes) verdicts are bound to the caller's credential."""

    def __init__(
        self,
        url: str,
        *,
        secret: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float = 3.0,
        binding_key: bytes | None = None,
        max_expiry_seconds: int = 3600,
        breaker: CircuitBreaker | None = None,
        outbound: Outbound | None = None,
    ) -> None:
        self._url = _parse_url(url)
        self._timeout_seconds = timeout_seconds
        self._binding_key = binding_key
        self._max_expiry_seconds = max_expiry_seconds
        self._breaker = breaker or CircuitBreaker(time.monotonic)
        self._headers = _request_headers(secret, headers or {})
        if self._url.user is not None or self._url.password is not None:
            if "authorization" in self._headers:
                raise ValueError("auth.webhook: a user in the URL and another setting both claim the Authorization header; give one")
            named = f"{self._url.user or ''}:{self._url.password or ''}".encode()
            self._headers["authorization"] = f"Basic {b64encode(named).decode()}"
            self._url = self._url.with_user(None)
        self._posting = Posting(
            self._url, self._headers, outbound or Outbound(), max_connections=MAX_CONNECTIONS, max_line_bytes=MAX_REPLY_BYTES
        )
        self.asked = 0
        """How many questions were sent since start."""

    def __repr__(self) -> str:
        return f"WebhookAuthorizer(host={self._url.host})"

    @property
    def fault(self) -> str:
        """Why it is not asked, "" when it is. While it is silent one question in two seconds goes, as a probe."""
        return "the authorization webhook does not answer: payments are refused until it does" if self._breaker.is_open else ""

    async def aclose(self) -> None:
        """Closes the kept connections."""
        await self._posting.aclose()

    def binding(self, caller: Caller, identity: Identity) -> str:
        """A short keyed digest of the caller's credential, to be kept in the state; "" when verdicts are not bound."""
        if self._binding_key is None:
            return ""
        digest = hmac.new(self._binding_key, identity.credential, sha256)
        for name, value in caller.credentials():
            digest.update(len(name).to_bytes(4, "big") + name + len(value).to_bytes(4, "big") + value)
        return digest.hexdigest()[:32]

    async def authorize(self, caller: Caller, identity: Identity, plan: PaymentPlan, trail: Trail) -> Verdict:
        """The verdict on the proposed payment. Raises AuthFailed when there is none, BodyTooLarge for a question that is too
        long; refusals are verdicts."""
        verdict = parse_verdict(await self._ask(encode_question(caller, plan, trail.request_id, identity), trail))
        if self._binding_key is None:
            return verdict
        return bind_verdict(verdict, self.binding(caller, identity), plan.now_ns, self._max_expiry_seconds)

    async def authorize_byoc(self, caller: Caller, identity: Identity, job: ByocJob, trail: Trail) -> Verdict:
        """The verdict on a BYOC job's credentials. Raises AuthFailed, and BodyTooLarge for a question that is too long."""
        return parse_verdict(await self._ask(encode_byoc_question(caller, job, trail.request_id, identity), trail))

    async def authorize_query(self, caller: Caller, identity: Identity, orchestrator_url: str, trail: Trail) -> Verdict:
        """The verdict on asking an orchestrator for its info. Raises AuthFailed, BodyTooLarge."""
        return parse_verdict(await self._ask(encode_query_question(caller, orchestrator_url, trail.request_id, identity), trail))

    async def authorize_usage(self, caller: Caller, identity: Identity, trail: Trail) -> Verdict:
        """The verdict on telling a caller of its own usage. Raises AuthFailed, BodyTooLarge."""
        return parse_verdict(await self._ask(encode_usage_question(caller, trail.request_id, identity), trail))

    async def _ask(self, question: bytes, trail: Trail) -> bytes:
        """The body of a 200 that came whole, in time and within the bound."""
        if not self._breaker.enter(trail.caller):
            raise AuthFailed("the authorization webhook does not answer; it is not asked again for a moment")
        self.asked += 1
        settle = self._breaker.abandoned
        try:
            async with asyncio.timeout(self._timeout_seconds):
                body = await self._posting.post(question, _read_reply)
            settle = self._breaker.answered
        except AuthFailed:
            settle = self._breaker.answered
            raise
        except asyncio.CancelledError:
            if trail.is_late:  # nobody left us: it was our own time that ran out
                settle = self._breaker.silent
            raise
        except TimeoutError:
            settle = self._breaker.silent
            raise AuthFailed(f"the authorization webhook did not answer within {self._timeout_seconds:g} s") from None
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as error:
            settle = self._breaker.silent
            raise AuthFailed(f"the authorization webhook could not be reached: {connection_reason(error)}") from None
        except aiohttp.ClientHttpProxyError as error:
            settle = self._breaker.silent
            raise AuthFailed(f"the authorization webhook could not be reached: outbound.proxy answered HTTP {error.status}") from None
        except aiohttp.ClientResponseError:
            settle = self._breaker.answered
            raise AuthFailed("the authorization webhook's answer is not HTTP") from None
        except aiohttp.ClientError as error:
            raise AuthFailed(f"the authorization webhook could not be asked: {connection_reason(error)}") from None
        finally:
            settle(trail.caller)
        return body


async def _read_reply(response: aiohttp.ClientResponse) -> bytes:
    """Raises AuthFailed for what is no plain 200 within the bound."""
    if response.status != 200:
        raise AuthFailed(f"the authorization webhook answered HTTP {response.status}, not 200")
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise AuthFailed("the authorization webhook sent a compressed answer, which was not asked for")
    body = await read_bounded(response.content.iter_any(), MAX_REPLY_BYTES)
    if body is None:
        raise AuthFailed(f"the authorization webhook's answer is longer than {MAX_REPLY_BYTES} bytes")
    return body


def _parse_url(text: str) -> URL:
    """An http or https URL with a host; ValueError otherwise, which does not repeat the URL: it may carry a secret."""
    try:
        url = URL(text)
    except ValueError:
        raise ValueError("auth.webhook.url is not a URL") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError("auth.webhook.url must be an http or https URL with a host")
    return url


def _request_headers(secret: str | None, static: Mapping[str, str]) -> dict[str, str]:
    """What every question carries. ValueError, which repeats no value, when two of them claim the same header or one cannot
    be sent: otherwise every payment would fail."""
    headers = {
        "content-type": "application/json",
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": "livepeer-remote-signer",
    }
    own = {name.lower() for name in static}
    if secret is not None:
        if not (secret.isascii() and secret.isprintable() and secret.strip(" ")) or secret != secret.strip(" "):
            raise ValueError(
                "auth.webhook.secret cannot be sent as a bearer token: it is empty, or has blanks around it, line breaks or "
                f"characters beyond ASCII among its {len(secret)} characters"
            )
        if "authorization" in own:
            raise ValueError("auth.webhook: secret and headers.Authorization both claim the Authorization header; give one")
        headers["authorization"] = f"Bearer {secret}"
    return {**headers, **checked_headers(static, "auth.webhook.headers")}
