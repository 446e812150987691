"""API keys as an operator asks for them, one or many at once, and the records made of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from livepeer_remote_signer.core.errors import BadField
from livepeer_remote_signer.core.protocol.strict_json import exact_object, int64_field, json_type, text_field
from livepeer_remote_signer.core.rules.api_keys import MAX_NAME_CHARACTERS, ROUTES, KeyRecord, check_auth_id, hash_secret

MAX_KEYS_AT_ONCE = 1000
MAX_REQUESTS_PER_MINUTE = 10**9

_DURATION = re.compile(r"([1-9][0-9]{0,5})([smhdw])")
_DURATION_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_YEAR_10000 = 253_402_300_800
_TERMS = frozenset(("name", "expires", "routes", "requests_per_minute"))


class NewKey(NamedTuple):
    """A key that is to be made. `auth_id` None: `key:` and the key's id. `expires` in unix seconds, None: never."""

    name: str
    auth_id: str | None = None
    expires: int | None = None
    routes: tuple[str, ...] = ()
    requests_per_minute: int | None = None

    def check(self) -> NewKey:
        """Itself. ValueError for a name or an auth id that no key may have."""
        if not self.name or len(self.name) > MAX_NAME_CHARACTERS or not self.name.isprintable():
            raise ValueError(f"name must be printable text of 1 to {MAX_NAME_CHARACTERS} characters")
        if self.auth_id is not None:
            check_auth_id(self.auth_id)
        return self

    def record(self, key_id: str, secret: str, salt: bytes, now: int) -> KeyRecord:
        """What is kept of it."""
        auth_id = f"key:{key_id}" if self.auth_id is None else self.auth_id
        hashed = hash_secret(salt, secret)
        return KeyRecord(key_id, self.name, auth_id, salt, hashed, now, self.expires, None, self.routes, self.requests_per_minute)


class StoredKey(NamedTuple):
    """A key, and the unix minute it was last used in, as far as that is written already."""

    record: KeyRecord
    used_minute: int | None


class MadeKey(NamedTuple):
    """A key that was made. `text` is what its user sends, kept nowhere; None where the request was obeyed before."""

    id: str
    auth_id: str
    name: str
    text: str | None


class Revoked(NamedTuple):
    """Keys that are revoked now, those that were before among them, and ids that no key has."""

    ids: list[str]
    unknown: list[str]


def parse_expiry(text: str, now: int) -> int:
    """Unix seconds of `30d` or of an ISO date or time, which is UTC unless it says otherwise. ValueError for others."""
    if match := _DURATION.fullmatch(text):
        seconds = now + int(match[1]) * _DURATION_SECONDS[match[2]]
    else:
        try:
            when = datetime.fromisoformat(text)
        except ValueError:
            raise ValueError(f"expires {text[:64]!r} is neither a duration such as 30d nor a date such as 2030-01-31") from None
        seconds = int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp())
    if not now < seconds < _YEAR_10000:
        raise ValueError(f"expires {text[:64]!r} is {'in the past' if seconds <= now else 'beyond the year 9999'}")
    return seconds


def parse_new_keys(body: Any, now: int) -> list[NewKey]:
    """The keys that a body asks for: `{"count": N}` with terms for all, or `{"keys": [...]}` with those of each. Raises BadField."""
    fields = exact_object(body, "the body", _TERMS | {"count", "keys"})
    if ("count" in fields) == ("keys" in fields):
        raise BadField(
            'exactly one of "count" and "keys" is expected', hint='{"count": 300} or {"keys": [{"auth_id": TEXT, "name": TEXT}]}'
        )
    if "count" in fields:
        count = int64_field(fields, "count", "count")
        _check_count(count)
        terms = _new_key(fields, "the body", now)
        try:
            return numbered(terms, count)
        except ValueError as error:
            raise BadField(f"the body, with a number behind each name: {error}") from None
    if fields.keys() != {"keys"}:
        raise BadField('beside "keys" nothing is expected: each of them has its own terms')
    entries = fields["keys"]
    if type(entries) is not list:
        raise BadField(f"keys must be an array, not {json_type(entries)}")
    _check_count(len(entries))
    keys = []
    for index, entry in enumerate(entries):
        where = f"keys[{index}]"
        keys.append(_new_key(exact_object(entry, where, _TERMS | {"auth_id"}), where, now))
    return keys


def numbered(terms: NewKey, count: int) -> list[NewKey]:
    """So many keys of the same terms, each with its number in its name. ValueError for what no key may have."""
    return [terms.check()] if count == 1 else [terms._replace(name=f"{terms.name} {n}").check() for n in range(1, count + 1)]


def _check_count(count: int) -> None:
    if not 1 <= count <= MAX_KEYS_AT_ONCE:
        raise BadField(f"from 1 to {MAX_KEYS_AT_ONCE} keys can be made at once, not {count}", limit=MAX_KEYS_AT_ONCE, count=count)


def _new_key(fields: dict[str, Any], where: str, now: int) -> NewKey:
    expires, routes = text_field(fields, "expires", f"{where}: expires"), fields.get("routes", [])
    if type(routes) is not list or any(route not in ROUTES for route in routes):
        raise BadField(f"{where}: routes must be an array of {', '.join(ROUTES)}")
    rate = int64_field(fields, "requests_per_minute", f"{where}: requests_per_minute")
    if "requests_per_minute" in fields and not 1 <= rate <= MAX_REQUESTS_PER_MINUTE:
        raise BadField(f"{where}: requests_per_minute must be from 1 to {MAX_REQUESTS_PER_MINUTE}")
    auth_id = text_field(fields, "auth_id", f"{where}: auth_id")
    name = text_field(fields, "name", f"{where}: name").strip() or auth_id[:MAX_NAME_CHARACTERS] or "user"
    try:
        ends = parse_expiry(expires, now) if expires else None
        return NewKey(name, auth_id if "auth_id" in fields else None, ends, tuple(dict.fromkeys(routes)), rate or None).check()
    except ValueError as error:
        raise BadField(f"{where}: {error}") from None


def describe_key(record: KeyRecord, used_minute: int | None, now: int) -> dict[str, Any]:
    """A key for people and their tools, nothing secret in it. Times in UTC; `last_used` to the minute."""
    return {
        "id": record.id,
        "name": record.name,
        "auth_id": record.auth_id,
        "state": state_of(record, now),
        "created": _time(record.created),
        "expires": _time(record.expires),
        "revoked": _time(record.revoked),
        "last_used": None if used_minute is None else _time(used_minute * 60),
        "routes": list(record.routes or ROUTES),
        "requests_per_minute": record.requests_per_minute,
    }


def state_of(record: KeyRecord, now: int) -> str:
    """Whether a key may be used, in words."""
    if record.revoked is not None:
        return f"revoked {day_text(record.revoked)}"
    if record.expires is None:
        return "active"
    return f"expired {day_text(record.expires)}" if now >= record.expires else f"active until {day_text(record.expires)}"


def day_text(seconds: int) -> str:
    """A time to the minute, UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%MZ")


def _time(seconds: int | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_ids(fields: Sequence[Any], most: int) -> list[str]:
    """Ids of keys, also where whole keys were given. Raises BadField."""
    if not 1 <= len(fields) <= most or not all(type(text) is str for text in fields):
        raise BadField(f"ids must be an array of 1 to {most} ids of keys")
    return list(dict.fromkeys(key_id_of(text) for text in fields))


def key_id_of(text: str) -> str:
    """The id, also where a whole key was given."""
    return text.split("_")[1][:16] if text.startswith("lrs_") else text[:16]
