"""API keys of the ledger beside a keys file."""

from __future__ import annotations

from pathlib import Path

import pytest

from livepeer_remote_signer.adapters.auth.api_keys import ApiKeys
from livepeer_remote_signer.adapters.auth.ledger_keys import LedgerKeys
from livepeer_remote_signer.core.errors import Denied, LedgerUnavailable, RateExceeded, Unauthenticated
from livepeer_remote_signer.core.rules.api_keys import KeyRecord
from livepeer_remote_signer.core.rules.new_keys import NewKey
from tests.api_keys import create_key

PATH = "/signTicket"
ID, SECRET = "0123456789abcdef", "s" * 43
KEY = f"lrs_{ID}_{SECRET}"


class Known:
    """The ledger's keys, or why they are not known."""

    def __init__(self, *records: KeyRecord) -> None:
        self.records = {record.id: record for record in records}
        self.fault = ""
        self.used: list[str] = []

    def key(self, key_id: str) -> KeyRecord | None:
        if self.fault:
            raise LedgerUnavailable(self.fault)
        return self.records.get(key_id)

    def note_use(self, key_id: str) -> None:
        self.used.append(key_id)


def record(**terms: object) -> KeyRecord:
    return NewKey("a", "alice").record(ID, SECRET, b"s" * 16, 5)._replace(**terms)  # type: ignore[arg-type]


@pytest.fixture
def filed(tmp_path: Path) -> tuple[str, ApiKeys]:
    key, _ = create_key(tmp_path / "keys.json", name="b", auth_id="bob", now=5)
    return key, ApiKeys(tmp_path / "keys.json")


def test_a_key_of_either_place_opens(filed: tuple[str, ApiKeys]) -> None:
    known = Known(record())
    keys = LedgerKeys(known, filed[1])
    assert keys.verify(KEY, PATH).auth_id == "alice"
    assert keys.verify(filed[0], PATH).auth_id == "bob"
    assert known.used == [ID]
    for nobody in (f"lrs_{'f' * 16}_{SECRET}", "nonsense"):
        with pytest.raises(Unauthenticated):
            keys.verify(nobody, PATH)
        with pytest.raises(Unauthenticated):
            LedgerKeys(known).verify(nobody, PATH)


def test_while_the_ledgers_keys_are_not_known_those_of_the_file_go_on(filed: tuple[str, ApiKeys]) -> None:
    known = Known(record())
    known.fault = "not read yet"
    keys = LedgerKeys(known, filed[1])
    assert keys.verify(filed[0], PATH).auth_id == "bob"
    assert keys.fault == "not read yet"
    for either in (keys, LedgerKeys(known)):
        with pytest.raises(LedgerUnavailable, match="not read yet"):
            either.verify(KEY, PATH)


@pytest.mark.parametrize(
    ("terms", "error"),
    [
        ({"revoked": 6}, Unauthenticated),
        ({"expires": 6}, Unauthenticated),
        ({"routes": ("sign-byoc-job",)}, Denied),
        ({"hash": bytes(32)}, Unauthenticated),
    ],
)
def test_a_key_that_may_not_be_used_counts_as_no_use(terms: dict[str, object], error: type[Exception]) -> None:
    known = Known(record(**terms))
    with pytest.raises(error):
        LedgerKeys(known).verify(KEY, PATH)
    assert known.used == []


def test_a_keys_rate_holds() -> None:
    keys = LedgerKeys(Known(record(requests_per_minute=2)), monotonic=lambda: 0.0)
    for _ in range(2):
        keys.verify(KEY, PATH)
    with pytest.raises(RateExceeded, match="2 times a minute"):
        keys.verify(KEY, PATH)
