"""Tokens against a real JWKS server: algorithms, claims, rotation, and what an attacker would try."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import jwt as pyjwt
import pytest
from cryptography.hazmat.primitives import serialization

from livepeer_remote_signer.adapters.auth import jwt as tokens_module
from livepeer_remote_signer.adapters.auth.jwt import RETRY_SECONDS, JwksKeys, JwtVerifier
from livepeer_remote_signer.core.errors import AuthFailed, Unauthenticated
from tests.issuer import AUDIENCE, EC_KEY, OTHER_RSA_KEY, P384_KEY, RSA_KEY, SMALL_RSA_KEY, Issuer, jwk, running_issuer


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with running_issuer() as running:
        yield running


class Seconds:
    """A monotonic clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def until(holds: Callable[[], bool]) -> None:
    """Waits for what other tasks do."""
    deadline = time.monotonic() + 30
    while not holds() and time.monotonic() < deadline:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.005)
    assert holds()


@asynccontextmanager
async def verifying(issuer: Issuer, clock: Seconds | None = None, jwks: bool = True, **options: Any) -> AsyncIterator[JwtVerifier]:
    keys = JwksKeys(issuer.url, f"{issuer.url}/jwks" if jwks else None, monotonic=clock or Seconds())
    verifier = JwtVerifier(keys, **{"issuer": issuer.url, "audience": AUDIENCE, **options})
    try:
        yield verifier
    finally:
        await verifier.aclose()


async def test_rs256_and_es256_tokens_name_their_subject(issuer: Issuer) -> None:
    async with verifying(issuer) as verifier:
        assert (await verifier.verify(issuer.token())).auth_id == "alice"
        assert (await verifier.verify(issuer.token(EC_KEY, "ES256", "e1"))).auth_id == "alice"
        assert issuer.asked == ["/jwks"]


async def test_keys_are_found_through_discovery(issuer: Issuer) -> None:
    async with verifying(issuer, jwks=False) as verifier:
        assert (await verifier.verify(issuer.token())).auth_id == "alice"
    assert issuer.asked == ["/.well-known/openid-configuration", "/jwks"]


async def test_another_claim_can_be_the_auth_id(issuer: Issuer) -> None:
    async with verifying(issuer, auth_id_claim="client") as verifier:
        assert (await verifier.verify(issuer.token(client="c1"))).auth_id == "c1"
        for value in (None, "", 5, ["c1"], "x" * 1025, "c\ud800", "\udc00", "a\nb", "\x00", "a\x1b[2J", "\x7f", "\x9b2J", "a\u2028"):
            with pytest.raises(Unauthenticated, match="client"):
                await verifier.verify(issuer.token(client=value))


def unsigned(issuer: Issuer) -> str:
    return pyjwt.encode({"iss": issuer.url, "aud": AUDIENCE, "sub": "a", "exp": 2**40}, None, "none", headers={"kid": "r1"})


def keyed_with_the_public_key(issuer: Issuer) -> str:
    """An HMAC made with the published key, for verifiers that let the token choose its algorithm."""
    pem = RSA_KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    head = {"alg": "HS256", "typ": "JWT", "kid": "r1"}
    parts = [base64.urlsafe_b64encode(json.dumps(p).encode()).rstrip(b"=") for p in (head, {"iss": issuer.url, "exp": 2**40})]
    import hmac

    mac = hmac.digest(pem, b".".join(parts), "sha256")
    return b".".join((*parts, base64.urlsafe_b64encode(mac).rstrip(b"="))).decode()


def with_other_claims(issuer: Issuer) -> str:
    head, _, tail = issuer.token().split(".")
    claims = {"iss": issuer.url, "aud": AUDIENCE, "sub": "root", "exp": 2**40}
    return f"{head}.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.{tail}"


@pytest.mark.parametrize(
    "make",
    [
        lambda i: i.token(exp=int(time.time()) - 31),
        lambda i: i.token(exp=None),
        lambda i: i.token(exp="soon"),
        lambda i: i.token(exp=10**400),
        lambda i: i.token(exp=2**53 + 1),
        lambda i: i.token(exp=float("inf")),
        lambda i: i.token(exp=float("nan")),
        lambda i: i.token(exp=[2**40]),
        lambda i: i.token(exp={}),
        lambda i: i.token(nbf=10**400),
        lambda i: i.token(nbf=float("inf")),
        lambda i: i.token(iat=[]),
        lambda i: i.token(aud={"a": 1}),
        lambda i: i.token(nbf=int(time.time()) + 60),
        lambda i: i.token(iss="https://evil.example"),
        lambda i: i.token(iss=None),
        lambda i: i.token(aud="another"),
        lambda i: i.token(aud=None),
        lambda i: i.token(sub=None),
        lambda i: i.token(OTHER_RSA_KEY),
        lambda i: i.token(kid="unknown"),
        lambda i: i.token(kid="e1"),
        lambda i: i.token(RSA_KEY, "RS384"),
        lambda i: i.token(RSA_KEY, "PS256"),
        lambda i: i.token(padding="x" * 8192),
        lambda i: i.token()[:-4],
        lambda i: "not a token",
        lambda i: "a.b.c",
        lambda i: "",
        unsigned,
        keyed_with_the_public_key,
        with_other_claims,
    ],
)
async def test_any_other_token_is_refused(issuer: Issuer, make: Callable[[Issuer], str]) -> None:
    async with verifying(issuer) as verifier:
        with pytest.raises(Unauthenticated):
            await verifier.verify(make(issuer))


@pytest.mark.parametrize(
    ("claim", "seconds", "is_about_time"), [("exp", -31, True), ("nbf", 60, True), ("iat", 60, True), ("iss", 0, False)]
)
async def test_a_token_whose_time_is_not_now_is_told_from_others(issuer: Issuer, claim: str, seconds: int, is_about_time: bool) -> None:
    """What another clock might let pass: it matters while this one is known to be wrong."""
    async with verifying(issuer) as verifier:
        with pytest.raises(Unauthenticated) as caught:
            await verifier.verify(issuer.token(**{claim: int(time.time()) + seconds if seconds else "https://evil.example"}))
        assert caught.value.is_of_time is is_about_time


async def test_clocks_may_differ_a_little(issuer: Issuer) -> None:
    async with verifying(issuer, clock_skew_seconds=30) as verifier:
        assert (await verifier.verify(issuer.token(exp=int(time.time()) - 20))).auth_id == "alice"


async def test_a_token_without_key_id_is_checked_with_the_only_key_of_its_algorithm(issuer: Issuer) -> None:
    async with verifying(issuer) as verifier:
        assert (await verifier.verify(issuer.token(kid=None))).auth_id == "alice"
    issuer.keys.append(jwk(OTHER_RSA_KEY, "r2"))
    async with verifying(issuer) as verifier:
        with pytest.raises(Unauthenticated):
            await verifier.verify(issuer.token(kid=None))


@pytest.mark.parametrize(
    "entry",
    [jwk(SMALL_RSA_KEY, "r1"), jwk(RSA_KEY, "r1", use="enc"), jwk(RSA_KEY, "r1", alg="RS512"), {"kty": "oct", "k": "AA", "kid": "r1"}],
)
async def test_weak_keys_and_keys_for_other_uses_are_left_out(issuer: Issuer, entry: dict[str, Any]) -> None:
    issuer.keys = [entry, jwk(P384_KEY, "e1"), jwk(EC_KEY, "e2"), {"kty": "RSA", "kid": "x"}, "nonsense"]  # type: ignore[list-item]
    async with verifying(issuer) as verifier:
        for token in (issuer.token(), issuer.token(EC_KEY, "ES256", "e1")):
            with pytest.raises(Unauthenticated):
                await verifier.verify(token)
        assert (await verifier.verify(issuer.token(EC_KEY, "ES256", "e2"))).auth_id == "alice"


async def test_a_new_key_is_fetched_when_a_token_names_it_but_not_for_every_made_up_name(issuer: Issuer) -> None:
    clock = Seconds()
    async with verifying(issuer, clock) as verifier:
        await verifier.verify(issuer.token())
        issuer.keys = [jwk(OTHER_RSA_KEY, "r2")]
        for name in ("x", "y", "r2"):
            with pytest.raises(Unauthenticated):
                await verifier.verify(issuer.token(OTHER_RSA_KEY, kid=name))
        assert issuer.asked == ["/jwks"]
        for after in (6, 29):
            clock.now = 1000.0 + after
            with pytest.raises(Unauthenticated):
                await verifier.verify(issuer.token(OTHER_RSA_KEY, kid="r2"))
            assert issuer.asked == ["/jwks"], f"asked again after {after} s"
        clock.now = 1030.0
        assert (await verifier.verify(issuer.token(OTHER_RSA_KEY, kid="r2"))).auth_id == "alice"
        with pytest.raises(Unauthenticated):
            await verifier.verify(issuer.token(kid="r1", sub="again"))
        assert issuer.asked == ["/jwks", "/jwks"]


async def test_an_unknown_key_is_no_verdict_while_the_issuer_cannot_be_asked(issuer: Issuer) -> None:
    clock = Seconds()
    async with verifying(issuer, clock) as verifier:
        await verifier.verify(issuer.token())
        issuer.keys, issuer.documents["/jwks"] = [jwk(OTHER_RSA_KEY, "r2")], b"gone"
        clock.now = 1000.0 + 31
        for _ in range(2):
            with pytest.raises(AuthFailed):
                await verifier.verify(issuer.token(OTHER_RSA_KEY, kid="r2"))
        assert len(issuer.asked) == 2
        del issuer.documents["/jwks"]
        clock.now = 1000.0 + 36
        assert (await verifier.verify(issuer.token(OTHER_RSA_KEY, kid="r2"))).auth_id == "alice"
        with pytest.raises(Unauthenticated):
            await verifier.verify(issuer.token(OTHER_RSA_KEY, kid="r3"))


async def test_keys_are_refreshed_beside_the_calls_and_never_used_too_long(issuer: Issuer) -> None:
    clock = Seconds()
    async with verifying(issuer, clock) as verifier:
        await verifier.verify(issuer.token())
        clock.now = 1000.0 + 600
        await verifier.verify(issuer.token(sub="b"))
        assert issuer.asked == ["/jwks"]
        issuer.documents["/jwks"] = b"gone"
        clock.now = 1000.0 + 601
        assert (await verifier.verify(issuer.token(sub="c"))).auth_id == "c"
        await until(lambda: len(issuer.asked) == 2 and verifier._keys._fetching is None)
        clock.now = 1000.0 + 3600
        assert (await verifier.verify(issuer.token(sub="d"))).auth_id == "d"
        await until(lambda: len(issuer.asked) == 3 and verifier._keys._fetching is None)
        clock.now = 1000.0 + 3601
        with pytest.raises(AuthFailed):
            await verifier.verify(issuer.token(sub="e"))
        del issuer.documents["/jwks"]
        clock.now = 1000.0 + 3604
        with pytest.raises(AuthFailed):
            await verifier.verify(issuer.token(sub="f"))
        assert len(issuer.asked) == 3, "a fetch that failed is not tried again within five seconds"
        clock.now = 1000.0 + 3605
        assert (await verifier.verify(issuer.token(sub="g"))).auth_id == "g"


async def test_an_issuer_that_drips_ends_in_time(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tokens_module.FETCH_TIMEOUT_SECONDS == 5
    monkeypatch.setattr(tokens_module, "FETCH_TIMEOUT_SECONDS", 0.3)
    issuer.drip_seconds = 0.05
    async with verifying(issuer) as verifier:
        started = time.monotonic()
        with pytest.raises(AuthFailed):
            await asyncio.wait_for(verifier.verify(issuer.token()), 5)
        assert time.monotonic() - started < 15


async def test_a_fetch_in_work_does_not_hold_up_the_end(issuer: Issuer) -> None:
    issuer.drip_seconds = 3600
    async with verifying(issuer) as verifier:
        asking = asyncio.create_task(verifier.verify(issuer.token()))
        async with asyncio.timeout(20):
            while not issuer.asked:  # noqa: ASYNC110 - the issuer's plain list
                await asyncio.sleep(0.01)
        await asyncio.wait_for(verifier.aclose(), tokens_module.FETCH_TIMEOUT_SECONDS / 2)
        with pytest.raises((AuthFailed, asyncio.CancelledError)):
            await asking


async def test_an_issuer_that_publishes_no_keys_any_more_is_believed(issuer: Issuer) -> None:
    clock = Seconds()
    async with verifying(issuer, clock) as verifier:
        await verifier.verify(issuer.token())
        issuer.keys = []
        clock.now += 30
        for token in (issuer.token(kid="new"), issuer.token(sub="b"), issuer.token(EC_KEY, "ES256", "e1"), issuer.token(kid=None, sub="c")):
            with pytest.raises(Unauthenticated, match="does not publish"):
                await verifier.verify(token)
        assert issuer.asked == ["/jwks", "/jwks"]
        issuer.keys = [jwk(RSA_KEY, "r1")]
        clock.now += 30
        assert (await verifier.verify(issuer.token(sub="d"))).auth_id == "d"


@pytest.mark.parametrize(
    "document",
    [b"", b"[]", b"{}", b'{"keys":5}', b'{"keys":[5]}', b'{"keys":[' + b" " * 300_000 + b"]}", b"[" * 100_000, b"\xff"],
)
async def test_a_document_that_is_no_key_set_lets_nobody_in(issuer: Issuer, document: bytes) -> None:
    issuer.documents["/jwks"] = document
    async with verifying(issuer) as verifier:
        with pytest.raises(AuthFailed):
            await verifier.verify(issuer.token())


@pytest.mark.parametrize(
    "document", [{"issuer": "https://evil.example", "jwks_uri": "URL/jwks"}, {"issuer": "URL"}, {"issuer": "URL", "jwks_uri": 5}]
)
async def test_discovery_must_speak_for_the_configured_issuer(issuer: Issuer, document: dict[str, Any]) -> None:
    issuer.documents["/.well-known/openid-configuration"] = json.dumps(document).replace("URL", issuer.url).encode()
    async with verifying(issuer, jwks=False) as verifier:
        with pytest.raises(AuthFailed):
            await verifier.verify(issuer.token())
    assert issuer.asked == ["/.well-known/openid-configuration"]


async def test_many_who_wait_share_one_fetch(issuer: Issuer) -> None:
    async with verifying(issuer) as verifier:
        await asyncio.gather(*(verifier.verify(issuer.token(sub=str(i))) for i in range(20)))
    assert issuer.asked == ["/jwks"]


async def test_a_checked_token_is_remembered_for_a_while_but_not_beyond_its_expiry(issuer: Issuer) -> None:
    now = [time.time()]
    async with verifying(issuer, clock_skew_seconds=0) as verifier:
        verifier._clock = lambda: now[0]
        token = issuer.token(exp=int(now[0]) + 5)
        first = await verifier.verify(token)
        verifier._keys = None  # type: ignore[assignment]
        assert await verifier.verify(token) is first
        now[0] += 6
        with pytest.raises(AttributeError):
            await verifier.verify(token)
        verifier._keys = JwksKeys(issuer.url, None)


async def test_keys_in_an_answer_other_than_200_are_not_believed(issuer: Issuer) -> None:
    issuer.status = "503 Service Unavailable"
    async with verifying(issuer) as verifier:
        with pytest.raises(AuthFailed):
            await verifier.verify(issuer.token())


async def test_as_many_tokens_as_there_are_take_a_bounded_room(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens_module, "MAX_CACHED_TOKENS", 2)
    async with verifying(issuer) as verifier:
        tokens = [issuer.token(sub=name) for name in ("a", "b", "c")]
        identities = [await verifier.verify(token) for token in tokens]
        assert len(verifier._checked) == 2
        assert await verifier.verify(tokens[2]) is identities[2], "the newest stay"


async def test_readiness_has_the_keys_fetched_and_says_why_there_are_none(issuer: Issuer) -> None:
    clock = Seconds()
    issuer.documents["/jwks"] = b"[]"
    async with verifying(issuer, clock) as verifier:
        assert verifier.fault == "the token issuer's keys are being fetched for the first time"
        while "cannot be used" not in verifier.fault:  # noqa: ASYNC110 - as whoever asks for readiness
            await asyncio.sleep(0.001)
        assert issuer.asked == ["/jwks"], "who asks for readiness again and again does not hammer the issuer"
        del issuer.documents["/jwks"]
        clock.now += RETRY_SECONDS
        assert "cannot be used" in verifier.fault, "until they are there"
        while verifier.fault:  # noqa: ASYNC110 - the same
            await asyncio.sleep(0.001)
        assert issuer.asked == ["/jwks", "/jwks"]
