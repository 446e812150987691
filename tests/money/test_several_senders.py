"""Two senders on one signer: when the second one's key is used elsewhere, the alarm names its address, and the first is not alarmed."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path

import pytest
from eth_utils.address import to_checksum_address

from livepeer_remote_signer.adapters.keys import SigningKey
from tests.api_keys import create_key
from tests.chain.evm import ETH
from tests.chain.livepeer import LivepeerEvm
from tests.money.rig import FACE_VALUE, LuckyOrchestrator, Redeemer, Session, endpoints, sign_elsewhere, until
from tests.money.test_reconciliation import Rig, pay_until_each_has_won

RED_SECRET, BLUE_SECRET = b"\x71" * 32, b"\x72" * 32
RED, BLUE = SigningKey(RED_SECRET).address, SigningKey(BLUE_SECRET).address
RED_ADDRESS, BLUE_ADDRESS = to_checksum_address(RED), to_checksum_address(BLUE)


@pytest.mark.timeout(600)
async def test_the_second_senders_key_used_elsewhere_is_an_alarm_that_names_it(
    livepeer: LivepeerEvm, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    evm = livepeer
    account = evm.web3.eth.accounts[5]
    evm.join(account)
    for sender in (RED, BLUE):
        evm.fund(sender, deposit=ETH, reserve=ETH)
    api_keys = [create_key(tmp_path / "api-keys.json", name=name, auth_id=name, now=5)[0] for name in ("red-gateway", "blue-gateway")]
    sections = {
        "keys": {"red": {"private_key": "0x" + RED_SECRET.hex()}, "blue": {"private_key": "0x" + BLUE_SECRET.hex()}},
        "senders": [{"auth_id": "blue-gateway", "key": "blue"}, {"auth_id": "*", "key": "red"}],
        "state": {"mac_key": "0x" + "3f" * 32},
        "auth": {"api_keys_file": str(tmp_path / "api-keys.json")},
    }
    with endpoints(evm.url, 2) as nodes, caplog.at_level(logging.ERROR):
        rig = Rig(evm, [node.url for node in nodes], tmp_path, **sections)
        async with rig.signer(on_foreign_ticket="suspend") as signer:
            await rig.settle(signer)
            sessions = [Session(LuckyOrchestrator(evm, account, rig.clock), key) for key in api_keys]
            await pay_until_each_has_won(rig, signer, sessions)
            reds, blues = (session.winners for session in sessions)
            Redeemer(evm).redeem([*reds, *blues], 50)
            await until(rig.counts, {"ours": len(reds) + len(blues)})
            paid = {RED: len(reds) * FACE_VALUE, BLUE: len(blues) * FACE_VALUE}
            assert {sender: evm.deposit_of(sender) for sender in paid} == {sender: ETH - wei for sender, wei in paid.items()}
            found = rig.sql("SELECT sender, count(*) FROM lrs_redeemed WHERE verdict = 'ours' GROUP BY sender")
            assert dict(found) == {RED: len(reds), BLUE: len(blues)}
            assert "SOMEBODY ELSE SIGNS" not in caplog.text

            # with the second key, on params that the ledger knows: it has signed them for the first sender
            Redeemer(evm).redeem([sign_elsewhere(evm, account, like=reds[0], secret=BLUE_SECRET)], 1)
            await until(lambda: rig.counts().get("foreign"), 1)
            await until(lambda: rig.events.exists() and "foreign_ticket_redeemed" in rig.events.read_text())
            events = [json.loads(line) for line in rig.events.read_text().splitlines()]
            alarms = [event for event in events if event["type"] == "foreign_ticket_redeemed"]
            assert [alarm["data"]["payer_address"] for alarm in alarms] == [BLUE_ADDRESS]
            await until(lambda: "all payments are suspended" in caplog.text)
            labels = {"red": RED_ADDRESS, "blue": BLUE_ADDRESS}
            async with asyncio.timeout(30):
                while await rig.metric(signer, "foreign", key="blue", sender=BLUE_ADDRESS) != 1:  # noqa: ASYNC110 - asked as a scraper would
                    await asyncio.sleep(0.1)
            shown = {key: await rig.metric(signer, "foreign", key=key, sender=address) for key, address in labels.items()}
            assert shown == {"red": 0, "blue": 1}
    told = [record.getMessage() for record in caplog.records if "SOMEBODY ELSE SIGNS" in record.getMessage()]
    assert len(told) == 1
    assert f"WITH THE KEY OF {BLUE_ADDRESS} (keys.blue)" in told[0]
    assert RED_ADDRESS not in caplog.text
