"""A key in a PKCS#11 token (HSM, smart card): it signs the digest as it is, with a k of its own, and either half of s.

Everything of one library runs in one thread: most of them fail, or worse, when several threads use one session, and to initialise a
library anew ends the sessions of all. A session that ended is opened again, once for each signature that is asked. A PIN that is
refused is not tried again by this process: tokens lock themselves after a few wrong ones.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass
from pkcs11.exceptions import (
    MultipleObjectsReturned,
    NoSuchKey,
    NoSuchToken,
    PinExpired,
    PinIncorrect,
    PinInvalid,
    PinLenRange,
    PinLocked,
    PKCS11Error,
    UserAlreadyLoggedIn,
)

from livepeer_remote_signer.adapters.keys.external import POINT_BYTES, point_address
from livepeer_remote_signer.adapters.keys.loading import SigningKeyError
from livepeer_remote_signer.adapters.keys.threads import KeyThreads
from livepeer_remote_signer.core.errors import KeyUnavailable
from livepeer_remote_signer.core.protocol.eip191 import personal_digest

SECP256K1 = bytes.fromhex("06052b8104000a")
"""The curve's object identifier in DER: what EC_PARAMS of such a key holds."""

OPEN_SECONDS = 10.0
"""A token is slow when it wakes."""

CLOSE_SECONDS = 2.0
_PIN_FAULTS = (PinIncorrect, PinInvalid, PinLenRange, PinLocked, PinExpired)
_threads: dict[Path, KeyThreads] = {}


class Pkcs11:
    """One key of one token."""

    name = "pkcs11"
    max_parallel = 8
    """How many wait for the thread; it makes one signature at a time."""

    def __init__(self, module: Path, token_label: str, key_label: str, pin: str) -> None:
        self._module = module
        self._token_label = token_label
        self._key_label = key_label
        self._pin = pin
        self._thread = _threads.setdefault(module, KeyThreads("pkcs11", 1))
        self._session: Any = None
        self._key: Any = None
        self._pin_fault = ""
        self._must_begin_anew = False

    def __repr__(self) -> str:
        return f"Pkcs11(token={self._token_label!r}, key={self._key_label!r})"

    def find_address(self, timeout_seconds: float = OPEN_SECONDS) -> bytes | None:
        """The address of the key; None where the token does not hold its public half. Waits for the token. Raises KeyUnavailable, and
        SigningKeyError for a PIN that is refused and a key that cannot sign tickets."""
        try:
            return self._thread.run_now(self._find_address, timeout_seconds)
        except KeyUnavailable:
            if self._pin_fault:
                raise SigningKeyError(f"key.pkcs11: {self._pin_fault}") from None
            raise

    async def sign(self, message: bytes) -> bytes:
        """r || s over the EIP-191 personal message. Raises KeyUnavailable."""
        digest = personal_digest(message)
        return await self._thread.run(lambda: self._sign(digest))

    def sign_digest(self, digest: bytes) -> bytes:
        """r || s over these 32 bytes; waits for the token. Raises KeyUnavailable."""
        return self._thread.run_now(lambda: self._sign(digest), OPEN_SECONDS)

    async def aclose(self) -> None:
        """Ends the session, where the token answers; the thread is for the next one that uses this library."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._thread.run(self._forget_session)

    def _sign(self, digest: bytes) -> bytes:
        was_open = self._session is not None
        try:
            try:
                return self._sign_once(digest)
            except PKCS11Error:
                self._forget_session()
                if not was_open:
                    raise
                return self._sign_once(digest)
        except PKCS11Error as error:
            self._forget_session()
            raise self._fault(error) from None

    def _sign_once(self, digest: bytes) -> bytes:
        if self._session is None:
            self._open()
        signature: bytes = self._key.sign(digest, mechanism=Mechanism.ECDSA)
        return signature

    def _open(self) -> None:
        if self._pin_fault:
            raise KeyUnavailable(f"is not asked: {self._pin_fault}")
        try:
            library = pkcs11.lib(str(self._module))
        except (RuntimeError, OSError):  # what the loader says holds paths, and no more than this
            raise KeyUnavailable("cannot be asked: key.pkcs11.module is no PKCS#11 library that can be loaded here") from None
        if self._must_begin_anew:
            self._must_begin_anew = False
            library.reinitialize()
        token = library.get_token(token_label=self._token_label)
        try:
            self._session = token.open(user_pin=self._pin)
        except UserAlreadyLoggedIn:  # by another key of this process, of the same token
            self._session = token.open()
        self._key = self._find_one(ObjectClass.PRIVATE_KEY)

    def _find_one(self, kind: ObjectClass) -> Any:
        """Reads the search to its end, so that nothing of it is left to be ended in another thread."""
        found = list(self._session.get_objects({Attribute.CLASS: kind, Attribute.KEY_TYPE: KeyType.EC, Attribute.LABEL: self._key_label}))
        if not found:
            raise NoSuchKey
        if len(found) > 1:
            raise MultipleObjectsReturned
        return found[0]

    def _find_address(self) -> bytes | None:
        try:
            self._open()
            try:
                public = self._find_one(ObjectClass.PUBLIC_KEY)
            except NoSuchKey:
                return None
            if public[Attribute.EC_PARAMS] != SECP256K1:
                raise SigningKeyError(f"key.pkcs11: the key {self._key_label!r} is of another curve than secp256k1")
            return point_address(public[Attribute.EC_POINT][-POINT_BYTES:])
        except PKCS11Error as error:
            raise self._fault(error) from None
        except ValueError:
            raise KeyUnavailable("returned what is no public key") from None
        finally:
            self._forget_session()  # whoever asked may not go on

    def _forget_session(self) -> None:
        session, self._session, self._key = self._session, None, None
        if session is not None:
            try:
                session.close()
            except PKCS11Error:
                self._must_begin_anew = True

    def _fault(self, error: PKCS11Error) -> KeyUnavailable:
        """The PIN is in none of it: the library's exceptions say no more than their names."""
        if isinstance(error, _PIN_FAULTS):
            self._pin_fault = (
                f"the token refused the PIN of key.pkcs11.pin_file ({type(error).__name__}); it is not tried again before a restart, "
                "since tokens lock themselves after a few wrong ones"
            )
            return KeyUnavailable(f"is not asked: {self._pin_fault}")
        if isinstance(error, NoSuchKey):
            return KeyUnavailable(f"has no EC key {self._key_label!r} that this user may sign with: check key.pkcs11.key_label")
        if isinstance(error, MultipleObjectsReturned):
            return KeyUnavailable(f"has several EC keys {self._key_label!r}: give the one that signs a label of its own")
        self._must_begin_anew = True
        if isinstance(error, NoSuchToken):
            return KeyUnavailable(f"has no token {self._token_label!r}: check key.pkcs11.token_label")
        return KeyUnavailable(f"does not sign ({type(error).__name__})")
