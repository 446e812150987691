"""The signing key, and how states are sealed. Every key with its type, default and meaning."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import (
    Field,
    SecretStr,
    StringConstraints,
    model_validator,
)

from livepeer_remote_signer.config.secret_files import LoadedFile, NeededSecretFile, ProtectedFile, SecretFile
from livepeer_remote_signer.config.urls import HttpUrl
from livepeer_remote_signer.config.values import Address, Seconds, Section, Time, Wei, check_one_form
from livepeer_remote_signer.core.rules.policy import MAX_AUTH_ID_CHARACTERS

KeyName: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
MAX_KEYS = 256
"""The funds of each are read with every poll of the chain."""

LOCAL_FORMS = ("private_key", "private_key_file", "keystore_file")
EXTERNAL_FORMS = ("eth_sign", "aws_kms", "pkcs11")


class EthSignConfig(Section):
    """A key behind JSON-RPC `eth_sign`."""

    url: HttpUrl
    address: Address
    headers: dict[str, SecretStr] = Field(default_factory=dict)
    headers_file: LoadedFile = None
    timeout_seconds: Seconds = 2
    max_parallel: int = Field(16, ge=1, le=256)

    @model_validator(mode="after")
    def _one_form(self) -> EthSignConfig:
        check_one_form(self, "headers")
        return self


class AwsKmsConfig(Section):
    """A key in AWS KMS, of the key spec ECC_SECG_P256K1. Credentials come from where AWS's own tools find them."""

    key_id: str = Field(min_length=1, max_length=2048)
    region: str = Field(min_length=1, max_length=64)
    endpoint_url: HttpUrl | None = None
    timeout_seconds: Seconds = 2
    max_parallel: int = Field(16, ge=1, le=64)
    max_per_second: int = Field(100, ge=1)


class Pkcs11Config(Section):
    """A key in a PKCS#11 token: an HSM, a smart card."""

    module: Path
    token_label: str = Field(min_length=1, max_length=32)
    key_label: str = Field(min_length=1, max_length=255)
    pin_file: NeededSecretFile
    timeout_seconds: Seconds = 2


class KeyConfig(Section):
    """The one signing key: a raw key from file or environment, a geth V3 keystore with its password file, or a key outside this host."""

    private_key: SecretStr | None = None
    private_key_file: SecretFile = None
    keystore_file: ProtectedFile = None
    password: SecretStr | None = None
    password_file: SecretFile = None
    address: Address | None = None
    signer: Literal["coincurve", "eth-account"] = "coincurve"
    signature_cost_wei: Wei | None = None
    eth_sign: EthSignConfig | None = None
    aws_kms: AwsKmsConfig | None = None
    pkcs11: Pkcs11Config | None = None

    @property
    def external(self) -> str | None:
        """Which form of a key outside this host is given; None for a local key."""
        return next((name for name in EXTERNAL_FORMS if getattr(self, name) is not None), None)

    @property
    def known_address(self) -> bytes | None:
        """The address that the configuration names, wherever it does."""
        return self.address if self.eth_sign is None else self.eth_sign.address

    @model_validator(mode="after")
    def _one_source(self) -> KeyConfig:
        given = [n for n in (*LOCAL_FORMS, *EXTERNAL_FORMS) if getattr(self, n) is not None]
        if len(given) != 1:
            raise ValueError(
                f"give exactly one of private_key, private_key_file and keystore_file, or of {', '.join(EXTERNAL_FORMS)}, "
                f"not {given or 'none'}"
            )
        if self.eth_sign is not None and self.address not in (None, self.eth_sign.address):
            raise ValueError("address and eth_sign.address are two addresses: give one of them")
        if self.keystore_file is not None and (self.password is None) == (self.password_file is None):
            raise ValueError("keystore_file needs exactly one of password_file and password")
        return self


class SenderConfig(Section):
    """Whose payments a key makes: one auth id's, or with "*" those of everybody whom no other entry names."""

    auth_id: str = Field(min_length=1, max_length=MAX_AUTH_ID_CHARACTERS)
    key: str


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
