"""The demo: what a newcomer sees, and that it fails when something is off."""

from __future__ import annotations

import subprocess
import sys

import pytest

from livepeer_remote_signer.core.protocol import ticket
from livepeer_remote_signer.simulate import command
from livepeer_remote_signer.simulate.recipient import Recipient


def test_the_command_prints_its_table_and_exits_0() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "livepeer_remote_signer", "simulate"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line for line in done.stdout.splitlines() if "paid, orchestrator accepted" in line]
    assert len(rows) >= command.MIN_PAYMENTS
    for status in ("480: ", "481: ", "482: "):
        assert status in done.stdout
    assert "All payments were accepted" in done.stdout
    assert "NOT AS IT SHOULD BE" not in done.stdout
    assert done.stderr == ""


def test_a_wrong_ticket_hash_cannot_confirm_itself(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    right = ticket.ticket_hash_parts
    monkeypatch.setattr("livepeer_remote_signer.service.signing.ticket_hash_parts", lambda *args: tuple(reversed(right(*args))))
    assert command.run(command.argparse.Namespace()) == 1
    assert "ORCHESTRATOR REFUSED" in capsys.readouterr().out


def test_an_orchestrator_that_takes_everything_fails_the_demo(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    right = Recipient.receive

    def forgetful(self: Recipient, payment: object, sender: bytes) -> object:
        self.seen.clear()
        return right(self, payment, sender)  # type: ignore[arg-type]

    monkeypatch.setattr(Recipient, "receive", forgetful)
    assert command.run(command.argparse.Namespace()) == 1
    assert "took the same tickets twice" in capsys.readouterr().out


def test_each_row_is_printed_when_it_happens(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    shown: list[int] = []
    right = Recipient.receive

    def receive(self: Recipient, payment: object, sender: bytes) -> object:
        shown.append(len(capsys.readouterr().out.splitlines()))
        return right(self, payment, sender)  # type: ignore[arg-type]

    monkeypatch.setattr(Recipient, "receive", receive)
    assert command.run(command.argparse.Namespace()) == 0
    assert shown[0] > 5, "the head stands before the first payment"
    assert all(rows >= 1 for rows in shown[1:10])
