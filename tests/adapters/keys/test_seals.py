"""Whose states are accepted: those of the current key in either seal, for a time those of former keys, and no others."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from livepeer_remote_signer.adapters.keys import PreviousKey, SigningKey, SigningKeyError, StateSeal, seals
from livepeer_remote_signer.adapters.keys.sender import Sender
from livepeer_remote_signer.config.loading import ConfigError, parse_config
from livepeer_remote_signer.core.errors import SenderChanged
from livepeer_remote_signer.core.protocol.eip191 import recover_address
from livepeer_remote_signer.wiring.keys import open_mac_key, open_seal

NOW_NS = 1_775_592_000_000_000_000
KEY, OLD, FOREIGN = (SigningKey(bytes([number]) * 32) for number in (1, 2, 3))
STATE = b'{"StateID":"a"}'


def seal_of(key: SigningKey, *, emit_mac: bool = True, previous: tuple[PreviousKey, ...] = (), mac_key: bytes | None = None) -> StateSeal:
    sign = None if emit_mac else key.sign_personal
    return StateSeal(key.address, sign=sign, mac_key=mac_key or key.derive_mac_key(), previous=previous, clock_ns=lambda: NOW_NS)


MAC, SIGNATURE = seal_of(KEY), seal_of(KEY, emit_mac=False)


def test_the_two_seals_have_their_lengths() -> None:
    assert len(MAC.seal(STATE)) == 32
    assert len(SIGNATURE.seal(STATE)) == 65
    assert SIGNATURE.seal(STATE) == KEY.sign_personal(STATE)


def test_a_mixed_fleet_accepts_both_seals() -> None:
    for maker in (MAC, SIGNATURE):
        for reader in (MAC, SIGNATURE):
            assert reader.verify(STATE, maker.seal(STATE))


@given(state=st.binary(max_size=300), bit=st.integers(0, 10_000), of_state=st.booleans(), emit_mac=st.booleans())
def test_one_flipped_bit_is_refused(state: bytes, bit: int, of_state: bool, emit_mac: bool) -> None:
    seal = MAC if emit_mac else SIGNATURE
    sig = seal.seal(state)
    target = bytearray(state if of_state and state else sig)
    target[bit // 8 % len(target)] ^= 1 << bit % 8
    changed = (bytes(target), sig) if of_state and state else (state, bytes(target))
    assert seal.verify(state, sig)
    assert not seal.verify(*changed)


@pytest.mark.parametrize("emit_mac", [True, False])
def test_a_seal_that_was_just_made_is_compared_and_an_older_one_made_again(emit_mac: bool) -> None:
    fresh, other = seal_of(KEY, emit_mac=emit_mac), seal_of(KEY, emit_mac=emit_mac)
    sig = fresh.seal(STATE)
    for reader in (fresh, other):
        assert reader.verify(STATE, sig)
        assert not reader.verify(STATE, sig[:-1])
        assert not reader.verify(STATE, sig[:-1] + bytes((sig[-1] ^ 1,)))
        assert not reader.verify(STATE + b" ", sig)


@given(state=st.binary(max_size=64), sig=st.binary(max_size=80))
def test_no_bytes_pass_by_chance(state: bytes, sig: bytes) -> None:
    assert not MAC.verify(state, sig)


@pytest.mark.parametrize("length", [0, 1, 31, 33, 64, 66, 1_000_000])
def test_other_lengths_are_refused(length: int) -> None:
    assert not MAC.verify(STATE, bytes(length))


def test_a_second_spelling_of_a_signature_is_refused() -> None:
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    sig = KEY.sign_personal(STATE)
    high = sig[:32] + (order - int.from_bytes(sig[32:64], "big")).to_bytes(32, "big") + bytes([55 - sig[64]])
    assert not SIGNATURE.verify(STATE, high)
    assert not SIGNATURE.verify(STATE, sig[:64] + bytes([sig[64] - 27]))


def test_states_of_another_key_are_refused() -> None:
    for emit_mac in (True, False):
        assert not MAC.verify(STATE, seal_of(FOREIGN, emit_mac=emit_mac).seal(STATE))


def test_a_former_mac_keys_states_pass_until_their_time() -> None:
    sig = seal_of(KEY, mac_key=b"m" * 32).seal(STATE)
    for until_ns, accepted in ((NOW_NS + 1, True), (NOW_NS, False), (NOW_NS - 1, False)):
        seal = seal_of(KEY, previous=(PreviousKey(b"m" * 32, None, until_ns),))
        assert seal.verify(STATE, sig) is accepted
        assert seal.verify(STATE, MAC.seal(STATE))
        assert not seal.verify(STATE, seal_of(FOREIGN).seal(STATE))


@pytest.mark.parametrize("emit_mac", [True, False])
def test_states_of_a_former_sender_are_known_and_refused_until_their_time(emit_mac: bool) -> None:
    """Their credit is at the orchestrator under the former address: tickets of the new one would start from nothing."""
    sig = seal_of(OLD, emit_mac=emit_mac).seal(STATE)
    seal = seal_of(KEY, previous=(PreviousKey(OLD.derive_mac_key(), OLD.address, NOW_NS + 1),))
    for _ in range(2):
        with pytest.raises(SenderChanged) as caught:
            seal.verify(STATE, sig)
    assert caught.value.values == {"sender": "0x" + KEY.address.hex(), "former_sender": "0x" + OLD.address.hex()}
    assert seal.verify(STATE, MAC.seal(STATE))
    assert not seal.verify(STATE, seal_of(FOREIGN, emit_mac=emit_mac).seal(STATE))
    assert not seal_of(KEY, previous=(PreviousKey(OLD.derive_mac_key(), OLD.address, NOW_NS),)).verify(STATE, sig)


def test_states_of_the_same_key_before_it_had_a_mac_key_of_its_own_are_accepted() -> None:
    seal = seal_of(KEY, mac_key=b"m" * 32, previous=(PreviousKey(KEY.derive_mac_key(), KEY.address, NOW_NS + 1),))
    assert seal.verify(STATE, MAC.seal(STATE))


def test_new_states_are_sealed_with_the_current_key() -> None:
    seal = seal_of(KEY, previous=(PreviousKey(OLD.derive_mac_key(), OLD.address, NOW_NS + 1),))
    assert seal.seal(STATE) == MAC.seal(STATE)
    assert not seal_of(OLD).verify(STATE, seal.seal(STATE))


def test_a_former_mac_key_alone_does_not_accept_signatures() -> None:
    seal = seal_of(KEY, previous=(PreviousKey(OLD.derive_mac_key(), None, NOW_NS + 1),))
    assert seal.verify(STATE, seal_of(OLD).seal(STATE))
    assert not seal.verify(STATE, OLD.sign_personal(STATE))


def test_however_many_keys_are_known_a_signature_is_recovered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller may send whatever he likes, and recovering takes its time."""
    asked: list[bytes] = []

    def recover(digest: bytes, sig: bytes) -> bytes:
        asked.append(sig)
        return recover_address(digest, sig)

    monkeypatch.setattr(seals, "recover_address", recover)
    known = tuple(PreviousKey(bytes([number]) * 32, bytes([number]) * 20, NOW_NS + 1) for number in range(255))
    seal = seal_of(KEY, previous=(*known, PreviousKey(OLD.derive_mac_key(), OLD.address, NOW_NS + 1)))
    assert not seal.verify(STATE, FOREIGN.sign_personal(STATE))
    assert len(asked) == 1
    with pytest.raises(SenderChanged):
        seal.verify(STATE, OLD.sign_personal(STATE))
    assert len(asked) == 2


def test_nothing_secret_is_in_a_representation() -> None:
    previous = PreviousKey(OLD.derive_mac_key(), OLD.address, NOW_NS)
    printed = f"{previous!r} {seal_of(KEY, previous=(previous,))!r} {[previous]!r}"
    for secret in (OLD.derive_mac_key(), KEY.derive_mac_key()):
        assert secret.hex() not in printed
        assert repr(secret)[2:-1] not in printed


def state_config(tmp_path: Path, **state: object) -> StateSeal:
    document = {"key": {"private_key": "01" * 32}, "chain": {"source": "static"}, "state": state}
    config = parse_config(yaml.safe_dump(document), {})
    return open_seal(config.state, Sender(KEY.address, open_mac_key(config.state, KEY), KEY, None), lambda: NOW_NS)


def test_the_configuration_names_former_keys(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("02" * 32)
    (tmp_path / "mac").write_text(FOREIGN.derive_mac_key().hex())
    seal = state_config(
        tmp_path,
        previous=[
            {"private_key_file": str(tmp_path / "old"), "accept_until": "2026-04-07T20:00:01Z"},
            {"mac_key_file": str(tmp_path / "mac"), "accept_until": "2026-04-08T00:00:00+02:00"},
        ],
    )
    for sig in (seal_of(OLD).seal(STATE), OLD.sign_personal(STATE)):
        with pytest.raises(SenderChanged):
            seal.verify(STATE, sig)
    assert seal.verify(STATE, seal_of(FOREIGN).seal(STATE))
    assert not seal.verify(STATE, FOREIGN.sign_personal(STATE))


def test_replicas_may_share_a_mac_key_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "mac").write_text("0x" + "5a" * 32 + "\n")
    by_file, by_value = state_config(tmp_path, mac_key_file=str(tmp_path / "mac")), state_config(tmp_path, mac_key="5a" * 32)
    assert by_value.verify(STATE, by_file.seal(STATE))
    assert not MAC.verify(STATE, by_file.seal(STATE))
    assert state_config(tmp_path, seal="signature").seal(STATE) == KEY.sign_personal(STATE)


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        ({"previous": [{"private_key_file": "/nowhere/old", "accept_until": "2026-04-07T20:00:00Z"}]}, SigningKeyError, "cannot be read"),
        ({"previous": [{"private_key_file": "/nowhere/old", "accept_until": "tomorrow"}]}, ConfigError, "must be a time such as"),
        ({"previous": [{"accept_until": "2026-04-07T20:00:00Z"}]}, ConfigError, "exactly one of"),
        ({"mac_key_file": "/nowhere/mac"}, SigningKeyError, r"state\.mac_key_file .* cannot be read"),
        ({"mac_key": "5a"}, SigningKeyError, r"state\.mac_key is not"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, state: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        state_config(tmp_path, **state)
