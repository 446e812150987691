"""Each service for real: what it signs recovers to its address, whatever it returned; and what it says when it does not sign."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from web3 import Web3

from livepeer_remote_signer.adapters.keys import SigningKeyError
from livepeer_remote_signer.adapters.keys import pkcs11 as pkcs11_module
from livepeer_remote_signer.adapters.keys.external import CheckedKey
from livepeer_remote_signer.adapters.outbound import Outbound
from livepeer_remote_signer.config.keys import KeyConfig
from livepeer_remote_signer.config.loading import parse_config
from livepeer_remote_signer.core.errors import KeyThrottled, KeyUnavailable
from livepeer_remote_signer.core.protocol.eip191 import keccak256, personal_digest, recover_address
from livepeer_remote_signer.wiring.keys import open_external_key
from tests.chain.evm import Anvil
from tests.custody.services import KEY_LABEL, REGION, TOKEN, Kms, SoftHsm, install_local_kms, kms_client, make_hsm_key, running_kms
from tests.outside import NEEDED_BY_OUTSIDE_KEYS

MESSAGES = [keccak256(bytes((number,))) for number in range(40)]


def key_config(**form: Any) -> KeyConfig:
    return parse_config(json.dumps({"key": form, "chain": {"source": "static"}, **NEEDED_BY_OUTSIDE_KEYS}), {}).key


@asynccontextmanager
async def opened(**form: Any) -> AsyncIterator[CheckedKey]:
    """As `serve` opens it: before there is an event loop that could wait for it."""
    key = await asyncio.to_thread(open_external_key, key_config(**form), Outbound())
    try:
        yield key
    finally:
        await key.stop()


@pytest.fixture(params=["eth_sign", "aws_kms", "pkcs11"])
def form(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The configuration of each service's key."""
    if request.param == "eth_sign":
        anvil: Anvil = request.getfixturevalue("anvil")
        account = Web3(Web3.HTTPProvider(anvil.url)).eth.accounts[3]
        return {"eth_sign": {"url": anvil.url, "address": account, "timeout_seconds": 30}}
    if request.param == "aws_kms":
        kms: Kms = request.getfixturevalue("kms")
        return {"aws_kms": aws(kms)}
    hsm: SoftHsm = request.getfixturevalue("hsm")
    return {"pkcs11": {**hsm.config(), "timeout_seconds": 30}}


def aws(kms: Kms, **changes: Any) -> dict[str, Any]:
    return {
        "key_id": kms.key_id,
        "region": REGION,
        "endpoint_url": kms.endpoint,
        "timeout_seconds": 30,
        "max_per_second": 10_000,
        **changes,
    }


async def test_what_is_signed_recovers_to_the_address_in_the_one_encoding(form: dict[str, Any]) -> None:
    async with opened(**form) as key:
        calls = await asyncio.gather(*(key.sign_personal(MESSAGES) for _ in range(5)))
        for signatures in calls:
            for message, signature in zip(MESSAGES, signatures, strict=True):
                assert recover_address(personal_digest(message), signature) == key.address
        is_deterministic = len({tuple(signatures) for signatures in calls}) == 1
        assert is_deterministic == (key.kind == "eth_sign"), "another signature each time is another draw"
        assert key.fault == ""


# --- AWS KMS ---


async def test_kms_says_the_address_and_another_one_is_refused(kms: Kms) -> None:
    async with opened(aws_kms=aws(kms)) as key:
        address = "0x" + key.address.hex()
    async with opened(aws_kms=aws(kms), address=address) as key:
        assert await key.sign_personal(MESSAGES[:1])
    with pytest.raises(SigningKeyError, match=f"the key's address is {address}, but key.address says 0xabab"):
        await asyncio.to_thread(open_external_key, key_config(aws_kms=aws(kms), address="0x" + "ab" * 20), Outbound())


async def test_a_key_of_another_kind_is_refused_at_start(kms: Kms) -> None:
    other = kms_client(kms.endpoint).create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
    with pytest.raises(SigningKeyError, match="its key spec must be ECC_SECG_P256K1"):
        await asyncio.to_thread(open_external_key, key_config(aws_kms=aws(kms, key_id=other)), Outbound())


async def test_a_key_that_is_not_there_is_refused_at_start(kms: Kms) -> None:
    with pytest.raises(SigningKeyError, match="answered NotFoundException: no such key in this region and account"):
        await asyncio.to_thread(open_external_key, key_config(aws_kms=aws(kms, key_id="alias/none")), Outbound())


async def test_a_key_that_is_disabled_signs_nothing_until_it_is_enabled(kms: Kms) -> None:
    client = kms_client(kms.endpoint)
    async with opened(aws_kms=aws(kms)) as key:
        client.disable_key(KeyId=kms.key_id)
        with pytest.raises(KeyUnavailable, match=r"the key's service \(aws_kms\) answered DisabledException: the key is disabled"):
            await key.sign_personal(MESSAGES)
        client.enable_key(KeyId=kms.key_id)
        assert await key.sign_personal(MESSAGES)
        assert key.fault == ""


async def test_without_its_service_a_key_waits_where_its_address_is_known(tmp_path: Path, aws_environment: None, kms: Kms) -> None:
    with running_kms(install_local_kms(), tmp_path) as other:
        pass
    with pytest.raises(SigningKeyError, match=r"with key\.address the signer starts all the same"):
        await asyncio.to_thread(open_external_key, key_config(aws_kms=aws(other)), Outbound())
    async with opened(aws_kms=aws(other), address="0x" + "ab" * 20) as key:
        with pytest.raises(KeyUnavailable, match=r"could not be reached \(EndpointConnectionError\)"):
            await key.sign_personal(MESSAGES)


async def test_a_service_that_hangs_costs_no_more_than_the_time_out_and_is_used_again(kms: Kms) -> None:
    async with opened(aws_kms=aws(kms, timeout_seconds=2)) as key:
        kms.process.send_signal(signal.SIGSTOP)
        try:
            with pytest.raises(KeyUnavailable, match=r"did not sign within 2 s|could not be reached"):
                await key.sign_personal(MESSAGES)
        finally:
            kms.process.send_signal(signal.SIGCONT)
        await until_signed(key)


async def until_signed(key: CheckedKey) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                await key.sign_personal(MESSAGES[:1])
            except KeyUnavailable:
                continue
            return


async def test_the_quota_is_kept_before_the_provider_has_to(kms: Kms) -> None:
    async with opened(aws_kms=aws(kms, max_per_second=50)) as key:
        results = await asyncio.gather(*(key.sign_personal(MESSAGES) for _ in range(50)), return_exceptions=True)
        throttled = [result for result in results if isinstance(result, KeyThrottled)]
        assert 0 < len(throttled) < len(results)
        assert all("above the 50 a second" in str(refusal) for refusal in throttled)
        assert all(isinstance(result, KeyThrottled | list) for result in results)


# --- PKCS#11 ---


async def test_a_token_says_the_address_where_it_holds_the_public_half(hsm: SoftHsm) -> None:
    make_hsm_key(hsm.library, "private-only", with_public=False)
    with pytest.raises(SigningKeyError, match=r"does not hold the key's public half: key\.address must say"):
        await asyncio.to_thread(open_external_key, key_config(pkcs11=hsm.config("private-only")), Outbound())
    async with opened(pkcs11=hsm.config("private-only"), address="0x" + "ab" * 20) as key:
        with pytest.raises(KeyUnavailable, match="returned what is no signature of 0xABaB"):
            await key.sign_personal(MESSAGES[:1])
    with pytest.raises(SigningKeyError, match=r"but key\.address says 0xabab"):
        await asyncio.to_thread(open_external_key, key_config(pkcs11=hsm.config(), address="0x" + "ab" * 20), Outbound())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"module": "/nowhere.so"}, "key.pkcs11.module is no PKCS#11 library"),
        ({"module": str(Path(os.__file__))}, "key.pkcs11.module is no PKCS#11 library"),
        ({"token_label": "another"}, "has no token 'another': check key.pkcs11.token_label"),
        ({"key_label": "another"}, "has no EC key 'another' that this user may sign with"),
        ({"key_label": "other-curve"}, "is of another curve than secp256k1"),
        ({"key_label": "twice"}, "has several EC keys 'twice'"),
        ({"pin_file": "/nowhere"}, "key.pkcs11.pin_file /nowhere cannot be read"),
    ],
)
async def test_what_is_wrong_with_a_token_is_said_at_start(hsm: SoftHsm, changes: dict[str, str], said: str) -> None:
    if changes.get("key_label") == "other-curve":
        make_hsm_key(hsm.library, "other-curve", "secp256r1")
    if changes.get("key_label") == "twice":
        make_hsm_key(hsm.library, "twice")
        make_hsm_key(hsm.library, "twice")
    with pytest.raises(SigningKeyError) as refused:
        await asyncio.to_thread(open_external_key, key_config(pkcs11={**hsm.config(), **changes}), Outbound())
    assert said in str(refused.value)


async def test_a_wrong_pin_is_tried_once_and_not_said(hsm: SoftHsm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pin_file = tmp_path / "pin"
    pin_file.write_text("31415926")
    form = {**hsm.config(), "pin_file": str(pin_file)}
    with pytest.raises(SigningKeyError, match=r"refused the PIN of key\.pkcs11\.pin_file \(PinIncorrect\)") as refused:
        await asyncio.to_thread(open_external_key, key_config(pkcs11=form, address="0x" + "ab" * 20), Outbound())
    assert "31415926" not in str(refused.value)

    backend = pkcs11_module.Pkcs11(hsm.library, TOKEN, KEY_LABEL, "31415926")
    with pytest.raises(KeyUnavailable, match="PinIncorrect"):
        await backend.sign(MESSAGES[0])
    monkeypatch.setattr(backend, "_pin", "271828")
    with pytest.raises(KeyUnavailable, match="is not asked: the token refused the PIN"):
        await backend.sign(MESSAGES[0])


async def test_a_session_that_ended_is_opened_again_within_the_call(hsm: SoftHsm) -> None:
    async with (
        opened(pkcs11={**hsm.config(), "timeout_seconds": 30}) as key,
        opened(pkcs11={**hsm.config(), "timeout_seconds": 30}) as other,
    ):
        await key.sign_personal(MESSAGES)
        await other.sign_personal(MESSAGES)
        await other.stop()  # which logs the whole process out of the token
        assert len(await key.sign_personal(MESSAGES)) == len(MESSAGES)
        assert key.fault == ""


async def test_a_token_that_is_away_is_found_again(hsm: SoftHsm) -> None:
    tokens = Path(hsm.environment["SOFTHSM2_CONF"]).parent / "tokens"
    away = tokens.with_name("away")
    async with opened(pkcs11={**hsm.config(), "timeout_seconds": 30}) as key:
        await key.sign_personal(MESSAGES)
        library = pkcs11_module.pkcs11.lib(str(hsm.library))
        tokens.rename(away)
        tokens.mkdir()
        library.reinitialize()
        try:
            with pytest.raises(KeyUnavailable, match="has no token 'lrs'"):
                await key.sign_personal(MESSAGES)
        finally:
            tokens.rmdir()
            away.rename(tokens)
        assert len(await key.sign_personal(MESSAGES)) == len(MESSAGES)


def test_signing_key_check_says_what_a_person_has_to_know(form: dict[str, Any], tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"key": form, "chain": {"source": "static"}, **NEEDED_BY_OUTSIDE_KEYS}))
    command = [
        sys.executable,
        "-m",
        "livepeer_remote_signer",
        "signing-key",
        "check",
        "--config",
        str(config),
        "--json",
        "--signatures",
        "20",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    (kind,) = form
    assert (found["key"], found["deterministic"]) == (kind, kind == "eth_sign")
    assert found["price_usd"] == ("0.000015" if kind == "aws_kms" else None)
    assert found["signatures_per_second"] > 0
