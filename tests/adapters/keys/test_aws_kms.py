"""AWS KMS as it answers over HTTP: the digest goes as it is, and everything that is no signature of the key is a fault."""

from __future__ import annotations

import asyncio
import json
import sys
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256K1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from livepeer_remote_signer.adapters.keys import SigningKeyError
from livepeer_remote_signer.adapters.keys.external import CheckedKey
from livepeer_remote_signer.adapters.outbound import Outbound
from livepeer_remote_signer.config.keys import KeyConfig
from livepeer_remote_signer.core.errors import KeyThrottled, KeyUnavailable
from livepeer_remote_signer.core.protocol.eip191 import keccak256, personal_digest, recover_address
from livepeer_remote_signer.wiring.keys import open_external_key
from tests.hooks import Answer, Hook, hang_up, reply, running_hook
from tests.outside import OutsideKey

KEY = OutsideKey(b"\x54" * 32)
MESSAGES = [keccak256(bytes((number,))) for number in range(8)]
REGION = "eu-west-2"


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "s3cret", "HTTP_PROXY": "http://127.0.0.1:1"}.items():
        monkeypatch.setenv(name, value)


@asynccontextmanager
async def opened(*, address: str | None = None, **forms: Any) -> AsyncIterator[CheckedKey]:
    config = KeyConfig.model_validate({"address": address, **forms})
    key = await asyncio.to_thread(open_external_key, config, Outbound())
    try:
        yield key
    finally:
        await key.stop()


def form(hook: Hook, **changes: Any) -> dict[str, Any]:
    return {"key_id": "alias/k", "region": REGION, "endpoint_url": hook.url, "timeout_seconds": 10, **changes}


def answering(hook: Hook) -> Answer:
    """What the service answers to the last question, in either half of s."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        question, target = hook.questions[-1], hook.headers[-1]["x-amz-target"]
        assert question["KeyId"] == "alias/k"
        if target == "TrentService.GetPublicKey":
            point = KEY.public_point
            der = EllipticCurvePublicKey.from_encoded_point(SECP256K1(), point).public_bytes(
                Encoding.DER, PublicFormat.SubjectPublicKeyInfo
            )
            said = {"PublicKey": b64encode(der).decode()}
        else:
            assert target == "TrentService.Sign"
            assert (question["MessageType"], question["SigningAlgorithm"]) == ("DIGEST", "ECDSA_SHA_256")
            raw = KEY.make_over(b64decode(question["Message"]))
            der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
            said = {"Signature": b64encode(der).decode()}
        await reply(json.dumps(said).encode(), headers="Content-Type: application/x-amz-json-1.1\r\n")(writer)

    return answer


async def test_the_digest_is_signed_as_it_is_and_no_variable_of_the_environment_says_through_whom(hook: Hook) -> None:
    hook.answer = answering(hook)
    async with opened(aws_kms=form(hook)) as key:
        assert key.address == KEY.address
        signatures = await key.sign_personal(MESSAGES)
    for message, signature in zip(MESSAGES, signatures, strict=True):
        assert recover_address(personal_digest(message), signature) == KEY.address
    asked = {b64decode(question["Message"]) for question in hook.questions if "Message" in question}
    assert asked == {personal_digest(message) for message in MESSAGES}
    assert not any("s3cret" in str(headers) for headers in hook.headers)


async def test_a_kept_connection_that_ended_meanwhile_costs_nothing(hook: Hook) -> None:
    async def once(writer: asyncio.StreamWriter) -> None:
        hook.answer = answering(hook)
        await hang_up(writer)

    hook.answer = answering(hook)
    async with opened(aws_kms=form(hook)) as key:
        hook.answer = once
        assert await key.sign_personal(MESSAGES[:1])


async def test_its_quota_is_each_processs_own(hook: Hook) -> None:
    hook.answer = answering(hook)
    async with opened(aws_kms=form(hook, max_per_second=8)) as key:
        await key.sign_personal(MESSAGES)
        with pytest.raises(KeyThrottled, match="above the 8 a second"):
            await key.sign_personal(MESSAGES[:1])


@pytest.fixture
async def hook() -> AsyncIterator[Hook]:
    async with running_hook() as running:
        yield running


def refusing(code: str, status: str = "400 Bad Request") -> Any:
    return reply(json.dumps({"__type": code, "message": "s3cret"}).encode(), status, "Content-Type: application/x-amz-json-1.1\r\n")


@pytest.mark.parametrize("code", ["ThrottlingException", "LimitExceededException"])
async def test_the_providers_own_throttle_is_passed_on(hook: Hook, code: str) -> None:
    hook.answer = refusing(code)
    form = {"key_id": "k", "region": REGION, "endpoint_url": hook.url, "timeout_seconds": 10}
    async with opened(aws_kms=form, address="0x" + "ab" * 20) as key:
        asked = len(hook.questions)
        with pytest.raises(KeyThrottled, match=code):
            await key.sign_personal(MESSAGES[:1])
    assert len(hook.questions) == asked + 1, "no second try of the library's own"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (refusing("AccessDeniedException"), "AccessDeniedException: these credentials may not use the key"),
        (refusing("x" * 500), "answered an error"),
        (refusing("KMSInternalException", "500 Internal Server Error"), "answered KMSInternalException"),
        (reply(b"{}"), "returned what is no signature"),
        (reply(b'{"Signature": "AAAA"}'), "returned what is no signature"),
        (reply(b'{"Signature": 7}'), "an answer that is not AWS KMS's"),
        (reply(b"garbage"), "returned what is no signature"),
        (reply(b'{"Signature": "MAYCAQECAQE="}'), "returned what is no signature of 0xabab"),
    ],
)
async def test_what_else_the_provider_says_is_a_fault(hook: Hook, answer: Any, said: str) -> None:
    hook.answer = answer
    form = {"key_id": "k", "region": REGION, "endpoint_url": hook.url, "timeout_seconds": 10}
    async with opened(aws_kms=form, address="0x" + "ab" * 20) as key:
        with pytest.raises(KeyUnavailable) as refused:
            await key.sign_personal(MESSAGES[:1])
    assert said.lower() in refused.value.message.lower()
    assert "s3cret" not in refused.value.message


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("aws", {"aws_kms": {"key_id": "k", "region": REGION}}),
        ("pkcs11", {"pkcs11": {"module": "m", "token_label": "t", "key_label": "k", "pin_file": "p"}}),
    ],
)
def test_without_its_extra_a_key_is_refused_with_the_extras_name(name: str, form: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("boto3", "pkcs11"):
        monkeypatch.setitem(sys.modules, module, None)
    for module in ("aws_kms", "pkcs11"):
        monkeypatch.delitem(sys.modules, f"livepeer_remote_signer.adapters.keys.{module}", raising=False)
    with pytest.raises(SigningKeyError, match=rf"needs the extra `{name}`: install livepeer-remote-signer\[{name}\]"):
        open_external_key(KeyConfig.model_validate(form), Outbound())


def test_a_region_that_is_none_is_refused() -> None:
    with pytest.raises(SigningKeyError, match="are region and endpoint_url right"):
        open_external_key(KeyConfig.model_validate({"aws_kms": {"key_id": "k", "region": "no region"}}), Outbound())
