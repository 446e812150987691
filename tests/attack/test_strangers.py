"""A stranger with a socket, and an honest caller beside him who notices next to nothing."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.attack import strangers
from tests.attack.rig import Attack, attacked
from tests.ports import free_port
from tests.served import patient_hook, served

pytestmark = [pytest.mark.attack, pytest.mark.timeout(600)]


def test_long_heads_behind_a_request_in_work(tmp_path: Path) -> None:
    with patient_hook() as hook, served(tmp_path, auth={"webhook": {"url": hook.url}}) as signer:
        report = attacked(signer, strangers.long_heads_behind_a_request_in_work)
    assert report.said >= 2
    report.check()


@pytest.mark.parametrize("attack", [strangers.requests_in_a_row, strangers.bodies_held_open, strangers.shortest_pieces])
def test_requests_in_a_row_bodies_held_open_and_the_shortest_pieces(tmp_path: Path, attack: Attack) -> None:
    with served(tmp_path) as signer:
        report = attacked(signer, attack)
    assert report.said > 40
    report.check()


def test_heads_for_the_admin_listener(tmp_path: Path) -> None:
    token, port = tmp_path / "token", free_port()
    token.write_text("a-token-of-the-operator")
    with served(tmp_path, admin={"listen": f"127.0.0.1:{port}", "token_file": str(token)}) as signer:
        report = attacked(signer, strangers.heads_for_the_admin_listener, admin_port=port)
    assert report.said >= 1
    report.check()


def test_silent_connections_and_few_open_files(tmp_path: Path) -> None:
    with served(tmp_path, open_files=64) as signer:
        report = attacked(signer, strangers.silent_connections)
        log = signer.log
    assert report.said > 200
    assert "limits.max_connections" in log
    report.check(turned_away=0.1)  # two hundred come between a connection and its first word where the machine is busy


def test_refusals_do_not_fill_the_log(tmp_path: Path) -> None:
    with served(tmp_path, log={"level": "warning"}) as signer:
        began = time.monotonic()
        report = attacked(signer, strangers.refusals_for_the_log)
        signer.end()
        minutes = (time.monotonic() - began) // 60 + 2  # those that ended meanwhile, and the one that went on
        printed = [line for line in signer.log.splitlines() if "refused" in line]
    assert report.said > 100
    assert len(printed) <= minutes * (10 + 1)
    assert "more requests refused" in printed[-1]
    report.check()


def test_a_page_gets_no_ticket(tmp_path: Path) -> None:
    with served(tmp_path) as signer:
        report = attacked(signer, strangers.a_page_in_the_operators_browser)
    assert list(report.said) == ["403"]
    assert report.said["403"] > 20
    report.check()
