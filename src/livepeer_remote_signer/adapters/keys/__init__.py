"""The signing key: loaded from file or environment, used here, never handed out."""

from livepeer_remote_signer.adapters.keys.loading import (
    SigningKeyError,
    load_keystore,
    load_private_key_file,
    parse_private_key,
    read_password_file,
    read_secret_file,
)
from livepeer_remote_signer.adapters.keys.seals import PreviousKey, StateSeal
from livepeer_remote_signer.adapters.keys.signing import SigningKey, derive_sender_mac_key

__all__ = [
    "PreviousKey",
    "SigningKey",
    "SigningKeyError",
    "StateSeal",
    "derive_sender_mac_key",
    "load_keystore",
    "load_private_key_file",
    "parse_private_key",
    "read_password_file",
    "read_secret_file",
]
