"""The keys file in use: changes are followed within a second, faults let nobody in, a lookup does not grow with the file."""

from __future__ import annotations

import multiprocessing
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from livepeer_remote_signer.adapters.auth import api_keys
from livepeer_remote_signer.adapters.auth.api_keys import ApiKeys, create_key, read_keys, revoke_key
from livepeer_remote_signer.core.errors import AuthFailed, Denied, RateExceeded, Unauthenticated
from livepeer_remote_signer.core.rules.api_keys import KeysFileError
from livepeer_remote_signer.core.rules.policy import Identity

PATH = "/generate-live-payment"


class Time:
    """Wall clock and monotonic clock in one."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def opened(file: Path, clock: Time) -> ApiKeys:
    return ApiKeys(file, clock=clock, monotonic=clock)


def test_a_key_names_its_auth_id_and_the_file_is_private(file: Path, clock: Time) -> None:
    key, record = create_key(file, name="bob", auth_id="team-a", now=5)
    assert opened(file, clock).verify(key, PATH) == Identity("team-a", record.hash)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert key.rpartition("_")[2] not in file.read_text()
    assert list(file.parent.iterdir()) == [file]


def test_without_a_name_for_it_a_keys_auth_id_is_its_own(file: Path, clock: Time) -> None:
    key, record = create_key(file, name="bob", auth_id=None, now=5)
    assert opened(file, clock).verify(key, PATH).auth_id == f"key:{record.id}"


@pytest.mark.parametrize(
    "change", [lambda k: k[:-1] + ("a" if k[-1] != "a" else "b"), lambda k: k + "a", lambda k: k[:-1], str.upper, lambda k: "lrs_"]
)
def test_a_key_that_is_not_exactly_right_is_not_known(file: Path, clock: Time, change: Callable[[str], str]) -> None:
    key, _ = create_key(file, name="bob", auth_id="a", now=5)
    with pytest.raises(Unauthenticated):
        opened(file, clock).verify(change(key), PATH)


def test_the_secret_of_one_key_does_not_open_another(file: Path, clock: Time) -> None:
    one, _ = create_key(file, name="a", auth_id="a", now=5)
    two, _ = create_key(file, name="b", auth_id="b", now=5)
    with pytest.raises(Unauthenticated):
        opened(file, clock).verify(one[:20] + two[20:], PATH)


def test_keys_made_and_revoked_while_running_count_within_a_second(file: Path, clock: Time) -> None:
    first, record = create_key(file, name="a", auth_id="a", now=5)
    keys = opened(file, clock)
    second, _ = create_key(file, name="b", auth_id="b", now=5)
    revoke_key(file, record.id, 9)
    clock.now += 1
    assert keys.verify(second, PATH).auth_id == "b"
    with pytest.raises(Unauthenticated, match="revoked"):
        keys.verify(first, PATH)


def test_an_expired_key_is_refused_from_its_second_on(file: Path, clock: Time) -> None:
    key, _ = create_key(file, name="a", auth_id="a", now=5, expires=int(clock.now) + 10)
    keys = opened(file, clock)
    clock.now += 9.9
    keys.verify(key, PATH)
    clock.now += 0.1
    with pytest.raises(Unauthenticated, match="expired"):
        keys.verify(key, PATH)


def test_a_key_for_one_route_opens_no_other(file: Path, clock: Time) -> None:
    key, _ = create_key(file, name="a", auth_id="a", now=5, routes=("signTicket",))
    keys = opened(file, clock)
    assert keys.verify(key, "/signTicket").auth_id == "a"
    for path in (PATH, "/sign-orchestrator-info", ""):
        with pytest.raises(Denied) as caught:
            keys.verify(key, path)
        assert caught.value.status == 403


def test_a_keys_rate_is_limited_and_refills(file: Path, clock: Time) -> None:
    key, _ = create_key(file, name="a", auth_id="a", now=5, requests_per_minute=6)
    keys = opened(file, clock)
    for _ in range(6):
        keys.verify(key, PATH)
    with pytest.raises(RateExceeded) as caught:
        keys.verify(key, PATH)
    assert caught.value.retry_after_seconds == 10
    clock.now += 10
    keys.verify(key, PATH)
    with pytest.raises(RateExceeded):
        keys.verify(key, PATH)


@pytest.mark.parametrize("damage", [lambda f: f.write_text("{"), lambda f: f.unlink(), lambda f: f.chmod(0o602)])
def test_a_file_that_cannot_be_used_lets_nobody_in_until_it_can(file: Path, clock: Time, damage: Callable[[Path], None]) -> None:
    key, _ = create_key(file, name="a", auth_id="a", now=5)
    whole = file.read_bytes()
    keys = opened(file, clock)
    damage(file)
    os.utime(file.parent)
    if file.exists():
        os.utime(file, ns=(1, 1))
    clock.now += 1
    with pytest.raises(AuthFailed):
        keys.verify(key, PATH)
    with pytest.raises(AuthFailed):
        keys.verify(key, PATH)
    file.unlink(missing_ok=True)
    file.write_bytes(whole)
    clock.now += 1
    assert keys.verify(key, PATH).auth_id == "a"


def test_a_missing_file_stops_the_start_and_says_what_makes_one(file: Path) -> None:
    with pytest.raises(KeysFileError, match="keys create"):
        ApiKeys(file)


def test_revoking_what_is_not_there_changes_nothing(file: Path) -> None:
    create_key(file, name="a", auth_id="a", now=5)
    before = file.read_bytes()
    with pytest.raises(KeysFileError, match="no key"):
        revoke_key(file, "0" * 16, 9)
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


def make_keys(file: Path) -> None:
    for index in range(10):
        create_key(file, name=str(index), auth_id="a", now=5)


def test_keys_made_by_several_processes_at_once_are_all_there(file: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=make_keys, args=(file,)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert len(read_keys(file)) == 30


def test_a_lookup_hashes_once_however_many_keys_there_are(file: Path, clock: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    for index in range(20):
        key, _ = create_key(file, name=str(index), auth_id="a", now=5)
    keys = opened(file, clock)
    calls = []
    real = api_keys.is_secret
    monkeypatch.setattr(api_keys, "is_secret", lambda record, secret: calls.append(record) or real(record, secret))
    keys.verify(key, PATH)
    assert len(calls) == 1


def test_no_hash_stands_in_a_repr(file: Path, clock: Time) -> None:
    _, record = create_key(file, name="a", auth_id="a", now=5)
    assert record.hash.hex() not in repr(opened(file, clock))
