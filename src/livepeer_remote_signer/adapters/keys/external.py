"""A key outside this host: what its service returns is checked before it is used.

Source: section 15 of the protocol. Hardware and key services return either half of s and no recovery id, and whether a ticket wins
depends on the signature's bytes: so every signature is brought into its one encoding, and must recover to the sender's address.
What does not is never used, for nobody can redeem it: either the configuration names another key, or somebody stands between.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from typing import Literal, Protocol, TypeAlias

import coincurve

from livepeer_remote_signer.adapters.keys.loading import SigningKeyError
from livepeer_remote_signer.core.errors import Failed, KeyThrottled, KeyUnavailable
from livepeer_remote_signer.core.protocol.eip191 import (
    checksum_address,
    keccak256,
    normalise_signature,
    personal_digest,
    public_key_address,
)
from livepeer_remote_signer.core.rules.rates import SecondQuota

MESSAGE_BYTES = 32
"""Ticket hashes, segment credentials, orchestrator info and BYOC jobs: all that this key ever signs is a hash that we made."""

POINT_BYTES = 65

PROBE = keccak256(b"livepeer-remote-signer: does this key sign?")
"""Worth nothing to whoever has it signed: no ticket, no credential and no job has this hash."""

PROBE_SECONDS = 1.0
MAX_PROBE_SECONDS = 15.0

log = logging.getLogger(__name__)

Outcome: TypeAlias = Literal["signed", "unavailable", "throttled", "wrong"]
Watcher: TypeAlias = Callable[[Outcome, int, float], None]
"""Told of every call's outcome, how many signatures it asked for, and how many seconds it took."""


def point_address(point: bytes) -> bytes:
    """The address of a public key, 65 bytes that begin with 4. ValueError for what is no point of the curve."""
    if len(point) != POINT_BYTES:
        raise ValueError(f"a public key has {POINT_BYTES} bytes, not {len(point)}")
    return public_key_address(coincurve.PublicKey(point))


def checked_address(backend: str, find: Callable[[], bytes | None], configured: bytes | None) -> bytes:
    """The address of a key whose service can say it, held against the configured one. Raises SigningKeyError.

    Where the service is away, or cannot say it, the configured one stands alone: every signature is checked by it.
    """
    try:
        found = find()
    except (KeyUnavailable, KeyThrottled) as error:
        if configured is None:
            raise SigningKeyError(
                f"key.{backend}: its service {error.message}; with key.address the signer starts all the same, and waits for it"
            ) from None
        log.warning("key.%s: its service %s; key.address says the address", backend, error.message)
        return configured
    if found is None:
        if configured is None:
            raise SigningKeyError(f"key.{backend}: the token does not hold the key's public half: key.address must say its address")
        return configured
    if configured not in (None, found):
        raise SigningKeyError(f"the key's address is 0x{found.hex()}, but key.address says 0x{configured.hex()}")
    return found


class KeyBackend(Protocol):
    """A signing service as it is: nothing that it returns is believed."""

    name: str
    """As the configuration calls it."""

    max_parallel: int
    """How many signatures it is asked for at one time."""

    async def sign(self, message: bytes) -> bytes:
        """r || s, or r || s || anything, over the EIP-191 personal message. Raises KeyUnavailable, KeyThrottled."""

    async def aclose(self) -> None:
        """Ends its connections."""


class WrongSignature(KeyUnavailable):
    """What came back is not a signature of the key: an alarm, not an outage."""


class CheckedKey:
    """The key of `address` behind a backend: all signatures of a call within `timeout_seconds`, or none."""

    def __init__(
        self,
        backend: KeyBackend,
        address: bytes,
        *,
        timeout_seconds: float,
        max_per_second: int | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`max_per_second`: signatures that this process asks for; None: as many as are needed."""
        self._backend = backend
        self._address = address
        self._timeout_seconds = timeout_seconds
        self._max_per_second = max_per_second
        self._quota = SecondQuota(max_per_second) if max_per_second is not None else None
        self._monotonic = monotonic
        self._places = asyncio.Semaphore(backend.max_parallel)
        self._fault = f"the key's service ({backend.name}) has not been asked yet"
        self._failed = asyncio.Event()
        self._failed.set()
        self._prober: asyncio.Task[None] | None = None
        self._watchers: list[Watcher] = []

    def __repr__(self) -> str:
        return f"CheckedKey({self._backend.name}, address={checksum_address(self._address)})"

    @property
    def address(self) -> bytes:
        """The 20-byte address that every signature recovers to."""
        return self._address

    @property
    def kind(self) -> str:
        """The backend, as the configuration calls it."""
        return self._backend.name

    @property
    def max_parallel(self) -> int:
        """How many signatures its service is asked for at one time."""
        return self._backend.max_parallel

    @property
    def fault(self) -> str:
        """Why it did not sign when it was last asked, "" when it did. A quota that is used up is no fault."""
        return self._fault

    def watch(self, watcher: Watcher) -> None:
        """Tells `watcher` of every call from now on."""
        self._watchers.append(watcher)

    async def start(self) -> None:
        """Asks for a signature now, and again while there is a fault, so that readiness needs no traffic to come back."""
        self._prober = asyncio.create_task(self._probe())

    async def stop(self) -> None:
        """Asks no more, and ends the backend's connections."""
        if self._prober is not None:
            self._prober.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._prober
        await self._backend.aclose()

    async def sign_personal(self, messages: Sequence[bytes]) -> list[bytes]:
        """One signature for each message of 32 bytes, in their order: 65 bytes over its EIP-191 personal message, low s, v 27 or 28,
        all of `address`. Raises KeyUnavailable and KeyThrottled, and then none was made use of."""
        for message in messages:
            if len(message) != MESSAGE_BYTES:
                raise ValueError(f"a key outside this host signs hashes of {MESSAGE_BYTES} bytes, not {len(message)} bytes")
        began = self._monotonic()
        if self._quota is not None and not self._quota.take(len(messages), began):
            self._tell("throttled", len(messages), began)
            raise KeyThrottled(
                f"{len(messages)} more signatures would be above the {self._max_per_second} a second that are asked of the key's service",
                hint=f"wait; key.{self.kind}.max_per_second sets the limit of each process",
                retry_after_seconds=1,
                limit=self._max_per_second,
            )
        try:
            async with asyncio.timeout(self._timeout_seconds):
                signatures = await self._sign_all(messages)
        except TimeoutError:
            self._note_fault("unavailable", len(messages), began, f"did not sign within {self._timeout_seconds:g} s")
            raise self._unavailable() from None
        except KeyThrottled:
            self._tell("throttled", len(messages), began)
            raise
        except WrongSignature as error:
            self._note_fault("wrong", len(messages), began, error.message)
            raise self._unavailable() from None
        except KeyUnavailable as error:
            self._note_fault("unavailable", len(messages), began, error.message)
            raise self._unavailable() from None
        if self._fault:
            log.info("the key's service (%s) signs for %s", self.kind, checksum_address(self._address))
            self._fault = ""
        self._failed.clear()
        self._tell("signed", len(messages), began)
        return signatures

    async def _sign_all(self, messages: Sequence[bytes]) -> list[bytes]:
        if len(messages) == 1:
            return [await self._sign(messages[0])]
        tasks = [asyncio.create_task(self._sign(message)) for message in messages]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:  # one failed, or nobody waits any more: what the others return is for nobody
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _sign(self, message: bytes) -> bytes:
        async with self._places:
            raw = await self._backend.sign(message)
        signature = normalise_signature(personal_digest(message), raw, self._address)
        if signature is None:
            raise WrongSignature(f"returned what is no signature of {checksum_address(self._address)}")
        return signature

    async def _probe(self) -> None:
        pause = PROBE_SECONDS
        while True:
            await self._failed.wait()
            try:
                with contextlib.suppress(Failed):  # it is noted where it arose
                    await self.sign_personal([PROBE])
            except Exception:
                log.exception("the key's service (%s) cannot be asked", self.kind)
            if self._fault:
                await asyncio.sleep(pause)
                pause = min(2 * pause, MAX_PROBE_SECONDS)
            else:
                pause = PROBE_SECONDS

    def _note_fault(self, outcome: Outcome, count: int, began: float, reason: str) -> None:
        """Logged when it begins and when it changes: what is refused because of it stands in the lines of its payments."""
        fault = f"the key's service ({self.kind}) {reason}"
        if fault != self._fault:
            log.log(logging.ERROR if outcome == "wrong" else logging.WARNING, "%s: nothing is paid until it signs", fault)
            self._fault = fault
        self._failed.set()
        self._tell(outcome, count, began)

    def _unavailable(self) -> KeyUnavailable:
        return KeyUnavailable(self._fault, hint="the same request may be sent again", retry_after_seconds=1)

    def _tell(self, outcome: Outcome, count: int, began: float) -> None:
        for watcher in self._watchers:
            watcher(outcome, count, self._monotonic() - began)
