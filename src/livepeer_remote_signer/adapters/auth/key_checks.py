"""Whether an API key may be used now, wherever its record is kept."""

from __future__ import annotations

from collections.abc import Callable

from livepeer_remote_signer.core.errors import Denied, RateExceeded, Unauthenticated
from livepeer_remote_signer.core.rules.api_keys import SALT_BYTES, KeyRecord, is_secret
from livepeer_remote_signer.core.rules.policy import Identity
from livepeer_remote_signer.core.rules.rates import Brake

_NOBODY = KeyRecord("", "", "", bytes(SALT_BYTES), bytes(32), 0)
"""Takes as long to refuse as anybody."""


class KeyChecks:
    """One hash a key, however many there are; rates are counted in this process."""

    def __init__(self, clock: Callable[[], float], monotonic: Callable[[], float]) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._brake = Brake()

    def admit(self, found: KeyRecord | None, parts: tuple[str, str] | None, path: str) -> Identity:
        """Whose key it is: `found` is the record of its id, `parts` its id and secret, None where it is not spelled like a key.

        Raises Unauthenticated for a key that is unknown, expired or revoked, Denied for a route that it does not open,
        RateExceeded above its limit.
        """
        record = found or _NOBODY
        if parts is None or not is_secret(record, parts[1]):
            raise Unauthenticated(
                "the API key is not known", hint="check that the whole key was sent, and that it was made for this signer"
            )
        now = self._clock()
        if record.revoked is not None:
            raise Unauthenticated("the API key is revoked", hint="ask the operator of this signer for a new one", key_id=record.id)
        if record.expires is not None and now >= record.expires:
            raise Unauthenticated("the API key has expired", is_of_time=True, key_id=record.id, expired=record.expires, now=int(now))
        if record.routes and path.strip("/") not in record.routes:
            raise Denied(
                f"this API key does not open {path}",
                hint="the operator can make a key for this route",
                key_id=record.id,
                routes=list(record.routes),
            )
        self._check_rate(record)
        return Identity(record.auth_id, record.hash)

    def _check_rate(self, record: KeyRecord) -> None:
        """At most `requests_per_minute`, evenly refilled, a minute's worth at once."""
        if record.requests_per_minute is None:
            return
        wait = self._brake.wait_seconds(record.id, record.requests_per_minute, 1, self._monotonic())
        if wait:
            raise RateExceeded(
                f"this API key may call {record.requests_per_minute} times a minute",
                retry_after_seconds=wait,
                key_id=record.id,
                limit=record.requests_per_minute,
            )
