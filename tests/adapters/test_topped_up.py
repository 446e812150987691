"""What was paid in within a day is counted to the wei, whatever became of the runs that paid it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from livepeer_remote_signer.adapters.sent_transactions import RecordFault, SentTransactions
from livepeer_remote_signer.adapters.topped_up import DAY_SECONDS, MAX_NOTES, ToppedUp

PAYER, SENDER = b"\x01" * 20, b"\x02" * 20
NOW = 1_800_000_000.0


class Clock:
    now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def topped_up(tmp_path: Path, clock: Clock) -> ToppedUp:
    return ToppedUp(tmp_path / "state", 42161, PAYER, SENDER, clock)


def test_amounts_count_for_a_day_mined_or_not(topped_up: ToppedUp, clock: Clock, tmp_path: Path) -> None:
    big = 10**30 + 1
    topped_up.note("0xa", 4, big)
    topped_up.mined("0xa", 100)
    clock.now += 3600
    topped_up.note("0xb", 5, 7)
    again = ToppedUp(tmp_path / "state", 42161, PAYER, SENDER, clock)
    assert (again.paid_wei(), again.last_block(), [note.hash for note in again.open_notes()]) == (big + 7, 100, ["0xb"])
    clock.now = NOW + DAY_SECONDS - 0.5
    assert again.paid_wei() == big + 7
    clock.now = NOW + DAY_SECONDS
    assert again.paid_wei() == 7
    clock.now = NOW - 10 * DAY_SECONDS
    assert again.paid_wei() == big + 7, "a clock that went back frees nothing"
    assert topped_up.path.stat().st_mode & 0o777 == 0o600


def test_of_one_nonce_one_counts(topped_up: ToppedUp) -> None:
    topped_up.note("0xa", 4, 10)
    topped_up.note("0xb", 4, 30)
    topped_up.note("0xc", 5, 1)
    assert topped_up.paid_wei() == 31
    assert (topped_up.paid_wei(apart_from=4), topped_up.paid_wei(apart_from=5), topped_up.paid_wei(apart_from=6)) == (1, 30, 31)
    topped_up.mined("0xa", 9)
    assert topped_up.paid_wei() == 11
    topped_up.drop("0xc")
    assert topped_up.paid_wei() == 10


def test_each_payer_and_sender_is_counted_on_its_own(topped_up: ToppedUp, tmp_path: Path, clock: Clock) -> None:
    topped_up.note("0xa", 4, 10)
    for other in ((1, PAYER, SENDER), (42161, SENDER, PAYER), (42161, PAYER, PAYER)):
        assert ToppedUp(tmp_path / "state", *other, clock).paid_wei() == 0


def test_what_is_kept_is_bounded(topped_up: ToppedUp, clock: Clock) -> None:
    topped_up.note("0xa", 0, 1)
    topped_up._write([topped_up.load()[0]._replace(hash="0x" + f"{n:064x}", nonce=n, wei=2**255, block=2**40) for n in range(MAX_NOTES)])
    assert len(topped_up.load()) == MAX_NOTES, "so many fit into the file"
    with pytest.raises(RecordFault, match="holds 1000 payments of the last day"):
        topped_up.note("0xb", 1, 1)
    clock.now += DAY_SECONDS
    topped_up.note("0xb", 1, 1)
    assert len(json.loads(topped_up.path.read_text())) == 1


@pytest.mark.parametrize(
    "change",
    [{"wei": 5}, {"wei": "x"}, {"wei": "-1"}, {"at": "now"}, {"nonce": -1}, {"block": "1"}, {"hash": 1}, {"other": 1}, {"wei": None}],
)
def test_a_file_that_cannot_be_understood_stops_the_command(topped_up: ToppedUp, change: dict[str, object]) -> None:
    topped_up.note("0xa", 4, 10)
    topped_up.path.write_text(json.dumps([{**json.loads(topped_up.path.read_text())[0], **change}]))
    with pytest.raises(RecordFault, match="is not what a funding command wrote"):
        topped_up.paid_wei()


def test_two_commands_of_a_sender_are_not_at_work_at_once(tmp_path: Path) -> None:
    first, second = (SentTransactions(tmp_path / "state", tmp_path / name, 1, PAYER) for name in ("a.yaml", "b.yaml"))
    other = SentTransactions(tmp_path / "state", tmp_path / "a.yaml", 1, SENDER)
    with first.alone(), other.alone(), pytest.raises(RecordFault, match="another command of this sender is at work"), second.alone():
        pass
    with second.alone():
        pass
