"""The keys file in use: changes are followed within a second, faults let nobody in, a lookup does not grow with the file."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event, current_thread

import pytest

from livepeer_remote_signer.adapters.auth import api_keys, key_checks
from livepeer_remote_signer.adapters.auth.api_keys import ApiKeys, read_keys
from livepeer_remote_signer.core.errors import AuthFailed, Denied, RateExceeded, Unauthenticated
from livepeer_remote_signer.core.rules.api_keys import KeyRecord, KeysFileError, encode_keys
from livepeer_remote_signer.core.rules.policy import Identity
from tests.api_keys import create_key, revoke_key

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
    with pytest.raises(Unauthenticated, match="expired") as caught:
        keys.verify(key, PATH)
    assert caught.value.is_of_time


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
    real = key_checks.is_secret
    monkeypatch.setattr(key_checks, "is_secret", lambda record, secret: calls.append(record) or real(record, secret))
    keys.verify(key, PATH)
    assert len(calls) == 1


def test_no_hash_stands_in_a_repr(file: Path, clock: Time) -> None:
    _, record = create_key(file, name="a", auth_id="a", now=5)
    assert record.hash.hex() not in repr(opened(file, clock))


# --- files of many keys ---


def many(count: int) -> list[KeyRecord]:
    return [KeyRecord(f"{n:016x}", "n", f"team-{n}", bytes(16), bytes(32), 5) for n in range(count)]


def test_of_a_long_file_only_the_lines_that_changed_are_parsed_and_in_a_thread(
    file: Path, clock: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text(encode_keys(many(2000)))
    file.chmod(0o600)
    key, record = create_key(file, name="a", auth_id="a", now=5)
    keys = opened(file, clock)
    parsed: list[tuple[str, str]] = []
    real = api_keys.parse_key

    def counted(line: str) -> KeyRecord:
        parsed.append((line, current_thread().name))
        return real(line)

    monkeypatch.setattr(api_keys, "parse_key", counted)
    revoke_key(file, record.id, 9)
    parsed.clear()
    clock.now += 1
    with contextlib.suppress(Unauthenticated):
        keys.verify(key, PATH)
    give_up = time.monotonic() + 30
    while keys._reading is not None:
        assert time.monotonic() < give_up
        time.sleep(0.001)
    with pytest.raises(Unauthenticated, match="revoked"):
        keys.verify(key, PATH)
    assert [thread for _, thread in parsed] == ["API keys"]


def test_while_a_long_file_is_read_the_keys_of_before_count(file: Path, clock: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    key, _ = create_key(file, name="a", auth_id="a", now=5)
    keys = opened(file, clock)
    monkeypatch.setattr(api_keys, "READ_AT_ONCE_BYTES", 0)
    go_on, real = Event(), api_keys._read_text

    def slow(path: Path) -> str:
        assert go_on.wait(30)
        return real(path)

    monkeypatch.setattr(api_keys, "_read_text", slow)
    other = file.with_name("other.json")
    create_key(other, name="b", auth_id="b", now=5)
    other.replace(file)
    clock.now += 1
    assert keys.verify(key, PATH).auth_id == "a"
    clock.now += 5
    assert keys.verify(key, PATH).auth_id == "a", "one reading at a time"
    reading = keys._reading
    assert reading is not None
    go_on.set()
    reading.join(30)
    with pytest.raises(Unauthenticated):
        keys.verify(key, PATH)


def test_keys_that_ended_long_ago_leave_the_file_when_it_is_written(file: Path) -> None:
    old, recent, forever = many(3)
    day = 86_400
    file.write_text(encode_keys([old._replace(revoked=day), recent._replace(revoked=20 * day), forever]))
    file.chmod(0o600)
    create_key(file, name="a", auth_id="a", now=31 * day)
    assert [record.id for record in read_keys(file)[:-1]] == [recent.id, forever.id]


def test_a_file_that_could_not_be_read_is_never_written(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create_key(file, name="a", auth_id="a", now=5)
    before = file.read_bytes()
    monkeypatch.setattr(api_keys, "MAX_FILE_BYTES", len(before) + 50)
    with pytest.raises(KeysFileError, match=rf"more than the {len(before) + 50} that are read: revoke keys"):
        create_key(file, name="b", auth_id="b", now=5)
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


def test_making_a_key_beside_many_parses_none_of_them(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(encode_keys(many(500)))
    file.chmod(0o600)
    monkeypatch.setattr(api_keys, "parse_key", None)
    monkeypatch.setattr(api_keys, "parse_keys", None)
    create_key(file, name="a", auth_id="a", now=5)
    monkeypatch.undo()
    assert len(read_keys(file)) == 501


def test_a_file_of_the_release_before_is_read_and_changed(file: Path, clock: Time) -> None:
    key, record = create_key(file, name="a", auth_id="a", now=5)
    file.write_text(json.dumps(json.loads(file.read_text()), indent=2) + "\n")
    assert opened(file, clock).verify(key, PATH).auth_id == "a"
    create_key(file, name="b", auth_id="b", now=5)
    revoke_key(file, record.id, 9)
    assert [found.revoked for found in read_keys(file)] == [9, None]


def test_owner_and_mode_stay_as_they_were(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, record = create_key(file, name="a", auth_id="a", now=5)
    file.chmod(0o640)
    given: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "fchown", lambda descriptor, user, group: given.append((user, group)))
    monkeypatch.setattr(os, "geteuid", lambda: 0 if file.stat().st_uid else 4242)
    revoke_key(file, record.id, 9)
    assert given == [(file.stat().st_uid, file.stat().st_gid)]
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_a_file_that_cannot_be_left_to_its_owner_is_not_replaced(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, record = create_key(file, name="a", auth_id="a", now=5)
    before = file.read_bytes()

    def refused(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "fchown", refused)
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    with pytest.raises(KeysFileError, match=rf"belongs to user {file.stat().st_uid}: change it as that user, or as root"):
        revoke_key(file, record.id, 9)
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_makes_can_be_read_by_the_owner_of_the_folder(file: Path) -> None:
    os.chown(file.parent, 65532, 65532)
    _, record = create_key(file, name="a", auth_id="a", now=5)
    assert (file.stat().st_uid, file.stat().st_gid, stat.S_IMODE(file.stat().st_mode)) == (65532, 65532, 0o600)
    os.chown(file.parent, 0, 0)
    revoke_key(file, record.id, 9)
    assert (file.stat().st_uid, file.stat().st_gid) == (65532, 65532)


def test_a_fault_is_known_without_a_call(file: Path, clock: Time) -> None:
    create_key(file, name="a", auth_id="a", now=5)
    keys = opened(file, clock)
    assert keys.fault == ""
    file.unlink()
    clock.now += 1
    assert "cannot be read: No such file" in keys.fault
    create_key(file, name="a", auth_id="a", now=5)
    clock.now += 1
    assert keys.fault == ""
