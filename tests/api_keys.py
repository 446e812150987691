"""One API key at a time in a file of them, as tests make and revoke them."""

from __future__ import annotations

from pathlib import Path

from livepeer_remote_signer.adapters.auth.api_keys import create_keys, revoke_keys
from livepeer_remote_signer.core.rules.api_keys import KeyRecord
from livepeer_remote_signer.core.rules.new_keys import NewKey


def create_key(
    path: Path,
    *,
    name: str,
    auth_id: str | None,
    now: int,
    expires: int | None = None,
    routes: tuple[str, ...] = (),
    requests_per_minute: int | None = None,
) -> tuple[str, KeyRecord]:
    """Adds one key. `auth_id` None: `key:` and the key's id. ValueError for a name or an auth id that no key may have."""
    return create_keys(path, [NewKey(name, auth_id, expires, routes, requests_per_minute).check()], now)[0]


def revoke_key(path: Path, key_id: str, now: int) -> KeyRecord:
    """Marks one key as revoked. Raises KeysFileError when there is none of this id."""
    return revoke_keys(path, [key_id], now)[0]
