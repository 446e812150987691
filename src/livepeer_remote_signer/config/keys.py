"""The signing key, and how states are sealed. Every key with its type, default and meaning."""

from __future__ import annotations

from typing import Literal

from pydantic import (
    SecretStr,
    model_validator,
)

from livepeer_remote_signer.config.secret_files import ProtectedFile, SecretFile
from livepeer_remote_signer.config.values import Address, Section, Time, check_one_form


class KeyConfig(Section):
    """The one signing key: a raw key from file or environment, or a geth V3 keystore with its password file."""

    private_key: SecretStr | None = None
    private_key_file: SecretFile = None
    keystore_file: ProtectedFile = None
    password: SecretStr | None = None
    password_file: SecretFile = None
    address: Address | None = None
    signer: Literal["coincurve", "eth-account"] = "coincurve"

    @model_validator(mode="after")
    def _one_source(self) -> KeyConfig:
        given = [n for n in ("private_key", "private_key_file", "keystore_file") if getattr(self, n) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of private_key, private_key_file and keystore_file, not {given or 'none'}")
        if self.keystore_file is not None and (self.password is None) == (self.password_file is None):
            raise ValueError("keystore_file needs exactly one of password_file and password")
        return self


class PreviousSeal(Section):
    """A key whose states are still accepted after a rotation, until a time."""

    private_key_file: SecretFile = None
    keystore_file: ProtectedFile = None
    password_file: SecretFile = None
    mac_key_file: SecretFile = None
    accept_until: Time

    @model_validator(mode="after")
    def _one_source(self) -> PreviousSeal:
        if [self.private_key_file, self.keystore_file, self.mac_key_file].count(None) != 2:
            raise ValueError("give exactly one of private_key_file, keystore_file and mac_key_file")
        if (self.keystore_file is None) != (self.password_file is None):
            raise ValueError("keystore_file and password_file belong together")
        return self


class StateConfig(Section):
    """How signer states are sealed. The MAC key is derived from the signing key unless given (32 bytes as hex)."""

    seal: Literal["mac", "signature"] = "mac"
    mac_key: SecretStr | None = None
    mac_key_file: SecretFile = None
    previous: tuple[PreviousSeal, ...] = ()

    @model_validator(mode="after")
    def _one_form(self) -> StateConfig:
        check_one_form(self, "mac_key")
        return self
