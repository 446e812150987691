"""A tenant with a credential of its own, and another beside it who notices next to nothing."""

from __future__ import annotations

import json
import os
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from benchmarks.laying import lay_auth_ids, lay_payments, sqlite_place
from tests.api_keys import create_key
from tests.attack import tenants
from tests.attack.liars import an_orchestrator_that_answers
from tests.attack.rig import Attack, Target, attacked, attacking
from tests.plans import orchestrator_info
from tests.ports import free_port
from tests.served import Served, live_body, patient_hook, post, served

pytestmark = [pytest.mark.attack, pytest.mark.timeout(600)]


def keys_of(folder: Path) -> tuple[dict[str, Any], str, str]:
    """`auth` of the configuration, and the credentials of two tenants as headers."""
    file = folder / "keys.json"
    headers = [f"X-Api-Key: {create_key(file, name=name, auth_id=name, now=5)[0]}\r\n" for name in ("mallory", "alice")]
    return {"api_keys_file": str(file)}, headers[0], headers[1]


def honest_payment(headers: str) -> bytes:
    """A first payment, with params of its own: a ledger gives no nonce twice."""
    return post(live_body(info=orchestrator_info(now_ns=time.time_ns(), rand_hash=os.urandom(32))), headers=headers)


def wait_for_answer(signer: Served, question: bytes) -> None:
    """Until an orchestrator is up."""
    give_up = time.monotonic() + 60
    while (answer := signer.exchange(question)).status != 200:
        assert time.monotonic() < give_up, answer
        time.sleep(0.1)


@pytest.mark.parametrize("backend", ["none", "sqlite"])
def test_many_connections_with_many_tickets(tmp_path: Path, backend: str) -> None:
    auth, mallory, alice = keys_of(tmp_path)
    ledger = {"backend": backend, "path": str(tmp_path / "ledger.sqlite")}
    with served(tmp_path, auth=auth, ledger=ledger) as signer:
        report = attacked(signer, tenants.many_connections_with_many_tickets, told=mallory, request=lambda: honest_payment(alice))
    assert report.said.get("200", 0) >= 5, report.said
    report.check()


def test_bodies_that_are_read_before_anybody_can_be_asked(tmp_path: Path) -> None:
    with patient_hook() as hook:
        auth = {"webhook": {"url": hook.url}, "trusted_proxies": ["127.0.0.1/32"]}
        limits = {"max_unidentified_bytes_per_second": 2 * 1024 * 1024}
        with served(tmp_path, auth=auth, limits=limits) as signer:
            report = attacked(signer, tenants.bodies_of_nobody)
    assert report.said.get("400", 0) + report.said.get("503", 0) > 20, report.said
    report.check()


def test_bodies_under_a_credential_that_nobody_gave_out_are_not_read(tmp_path: Path) -> None:
    auth, _, alice = keys_of(tmp_path)
    with served(tmp_path, auth=auth) as signer:
        report = attacked(signer, tenants.bodies_that_end_in_401, request=lambda: honest_payment(alice))
    assert report.said.keys() == {"401"}
    assert report.said["401"] > 100
    report.check()


def test_values_without_number_of_a_tenant(tmp_path: Path) -> None:
    auth, mallory, alice = keys_of(tmp_path)
    with served(tmp_path, auth=auth) as signer:
        report = attacked(signer, tenants.values_of_a_tenant, told=mallory, request=lambda: honest_payment(alice))
    assert report.said.get("400", 0) + report.said.get("429", 0) > 100, report.said
    report.check()


@pytest.mark.parametrize("asks", ["webhook", "nobody"])
def test_values_without_number_that_are_read_before_anybody_can_be_asked(tmp_path: Path, asks: str) -> None:
    with patient_hook() as hook:
        auth = {"trusted_proxies": ["127.0.0.1/32"], **({"webhook": {"url": hook.url}} if asks == "webhook" else {})}
        with served(tmp_path, auth=auth) as signer:
            report = attacked(signer, tenants.values_of_nobody)
    assert report.said.get("400", 0) + report.said.get("503", 0) > 20, report.said
    report.check()


@pytest.mark.parametrize("attack", [tenants.questions_that_are_never_answered, tenants.questions_that_are_too_long])
def test_questions_that_a_webhook_does_not_answer(tmp_path: Path, attack: Attack) -> None:
    with patient_hook() as hook:
        auth = {"webhook": {"url": hook.url}, "trusted_proxies": ["127.0.0.1/32"]}
        with served(tmp_path, auth=auth) as signer:
            report = attacked(signer, attack)
    assert report.said.get("500", 0) + report.said.get("413", 0) > 10, report.said
    assert "200" not in report.said
    report.check()


@pytest.mark.parametrize("pays", [True, False], ids=["who pays", "who asks an orchestrator too"])
def test_orchestrators_that_never_answer(tmp_path: Path, pays: bool) -> None:
    port = free_port()
    question = post(json.dumps({"orchestrator": f"https://127.0.0.1:{port}"}).encode(), "/getOrchestratorInfo")
    with patient_hook() as hook, attacking(an_orchestrator_that_answers, Target(0, told=port), 300) as orchestrator:
        auth = {"webhook": {"url": hook.url}, "trusted_proxies": ["127.0.0.1/32"]}
        orchestrator.wait_until_begun()
        with served(tmp_path, auth=auth, orchestrators={"allowed_networks": ["127.0.0.1/32"]}) as signer:
            wait_for_answer(signer, question)
            report = attacked(signer, tenants.orchestrators_that_never_answer, request=lambda: post(live_body()) if pays else question)
    assert report.said.get("429", 0) + report.said.get("503", 0) > 0, report.said
    if pays:
        report.check()
    assert not report.refused, "nobody else is out of places"
    assert report.paid >= 10


def test_an_orchestrator_is_paused_for_nobody_but_the_tenant_who_abandons_its_sessions(tmp_path: Path) -> None:
    auth, mallory, alice = keys_of(tmp_path)
    guard = {"window_seconds": 600, "max_spend_wei": str(10**15)}
    with served(tmp_path, auth=auth, recipients={"guard": guard}) as signer:
        report = attacked(signer, tenants.one_payment_after_the_other, told=mallory, request=lambda: honest_payment(alice))
    assert report.said.get("429", 0) > 0, report.said
    report.check()


def test_padded_auth_tokens_are_not_kept(tmp_path: Path) -> None:
    auth, mallory, alice = keys_of(tmp_path)
    ledger = {"backend": "sqlite", "path": str(tmp_path / "ledger.sqlite")}
    with served(tmp_path, auth=auth, ledger=ledger) as signer:
        report = attacked(signer, tenants.padded_auth_tokens, told=mallory, request=lambda: honest_payment(alice))
        kept = sum(path.stat().st_size for path in tmp_path.glob("ledger.sqlite*"))
    assert report.said.keys() == {"400"}
    assert kept < 32 * 1024 * 1024
    report.check()


def test_jobs_that_the_webhook_does_not_allow(tmp_path: Path) -> None:
    with patient_hook() as hook:
        auth = {"webhook": {"url": hook.url}, "trusted_proxies": ["127.0.0.1/32"]}
        with served(tmp_path, auth=auth, byoc_jobs=True) as signer:
            report = attacked(signer, tenants.jobs_of_nobody)
    assert report.said.keys() <= {"500", "429"}, report.said
    assert report.said["500"] > 5
    report.check()


def test_old_states_of_another_bring_no_newer_one(tmp_path: Path) -> None:
    """Where late requests are refused the newest state comes with the refusal: to whoever may pay, and to nobody else."""
    ledger = {"backend": "sqlite", "path": str(tmp_path / "ledger.sqlite"), "on_stale": "refuse"}
    with patient_hook() as hook:
        auth = {"webhook": {"url": hook.url}, "trusted_proxies": ["127.0.0.1/32"]}
        with served(tmp_path, auth=auth, ledger=ledger) as signer:

            def told(state: Any) -> Any:
                body = live_body(info=orchestrator_info(now_ns=time.time_ns(), rand_hash=os.urandom(32)), state=state)
                return signer.exchange(post(body))

            first = json.loads(told(None).body)["state"]
            newest = json.loads(told(first).body)["state"]
            assert told(first).error["state"] == newest, "the owner of the session is given the newest one"
            report = attacked(signer, tenants.old_states_of_another, told=first, request=lambda: honest_payment(""))
    assert report.said.pop("states given out") == 0
    assert report.said.keys() <= {"500", "429"}, report.said
    assert report.said["500"] > 5
    report.check()


def test_consoles_in_many_tabs_over_many_rows(tmp_path: Path) -> None:
    token, path, admin_port = "t" * 40, tmp_path / "ledger.sqlite", free_port()
    (tmp_path / "token").write_text(token)
    budgets = [{"scope": "auth_id", "match": "*", "window": "hour", "measure": "ev", "limit_wei": "1000eth"}]
    ledger = {"backend": "sqlite", "path": str(path)}
    admin = {"listen": f"127.0.0.1:{admin_port}", "token_file": str(tmp_path / "token")}
    with served(tmp_path, ledger=ledger, budgets=budgets, admin=admin) as signer:
        with sqlite_place(path) as place:
            lay_auth_ids(place)
            lay_payments(place, 100_000)
        console = HTTPConnection("127.0.0.1", admin_port, timeout=30)
        form = {"Content-Type": "application/x-www-form-urlencoded", "Origin": f"http://127.0.0.1:{admin_port}"}
        console.request("POST", "/console/login", f"token={token}", form)
        cookie = (console.getresponse().getheader("Set-Cookie") or "").partition(";")[0]
        told = (f"Cookie: {cookie}\r\n", f"Authorization: Bearer {token}\r\n")
        report = attacked(signer, tenants.consoles_in_many_tabs, told=told, admin_port=admin_port, request=lambda: honest_payment(""))
        console.close()
    assert report.said.keys() == {"200"}
    assert report.said["200"] > 5
    report.check()
