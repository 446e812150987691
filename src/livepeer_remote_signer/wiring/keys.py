"""The signing key and the seals over states, as the configuration names them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from livepeer_remote_signer.adapters.keys import (
    PreviousKey,
    SigningKey,
    SigningKeyError,
    StateSeal,
    derive_sender_mac_key,
    load_keystore,
    load_private_key_file,
    parse_private_key,
    read_password_file,
    read_secret_file,
)
from livepeer_remote_signer.adapters.keys.external import CheckedKey, checked_address
from livepeer_remote_signer.adapters.keys.sender import Sender
from livepeer_remote_signer.adapters.outbound import Outbound
from livepeer_remote_signer.config.keys import AwsKmsConfig, KeyConfig, Pkcs11Config, PreviousSeal, StateConfig
from livepeer_remote_signer.core.protocol.timestamps import parse_rfc3339_ns

if TYPE_CHECKING:
    from livepeer_remote_signer.adapters.keys.aws_kms import AwsKms
    from livepeer_remote_signer.adapters.keys.pkcs11 import Pkcs11
    from livepeer_remote_signer.adapters.transaction_keys import LocalTransactionKey, OutsideTransactionKey
from livepeer_remote_signer.service.signing import InfoSignature

FOR_EVER_NS = 2**63 - 1
_LOCAL = "key.private_key_file, or key.keystore_file with key.password_file"


def load_secret(config: KeyConfig) -> bytes:
    """The configured key's 32 bytes. Raises SigningKeyError."""
    if config.external is not None:
        raise SigningKeyError(f"key.{config.external} names a key outside this host, and this needs a key that it has: {_LOCAL}")
    if config.private_key is not None:
        return parse_private_key(config.private_key.get_secret_value(), "key.private_key")
    if config.private_key_file is not None:
        return load_private_key_file(config.private_key_file)
    if config.keystore_file is None:
        raise SigningKeyError(f"no key is configured: give {_LOCAL}")
    if config.password is not None:
        return load_keystore(config.keystore_file, [config.password.get_secret_value()], config.address)
    if config.password_file is None:
        raise SigningKeyError("key.keystore_file needs key.password_file")
    return load_keystore(config.keystore_file, read_password_file(config.password_file), config.address)


def open_signing_key(config: KeyConfig) -> SigningKey:
    """The key of the configuration. Raises SigningKeyError, also when its address is not the configured one."""
    key = SigningKey(load_secret(config), config.signer)
    if config.address is not None and key.address != config.address:
        raise SigningKeyError(f"the key's address is 0x{key.address.hex()}, but key.address says 0x{config.address.hex()}")
    return key


def load_address(config: KeyConfig, outbound: Outbound) -> bytes:
    """The address of a key: the configured one, or else the key is opened. Raises SigningKeyError."""
    if config.known_address is not None:
        return config.known_address
    return open_external_key(config, outbound).address if config.external is not None else open_signing_key(config).address


def open_external_key(config: KeyConfig, outbound: Outbound) -> CheckedKey:
    """The key outside this host that the configuration names. Its service is asked for the address, and must answer unless
    `key.address` says it. Raises SigningKeyError."""
    if config.eth_sign is not None:
        from livepeer_remote_signer.adapters.keys.eth_sign import EthSign  # aiohttp, only where it is used

        form = config.eth_sign
        headers = {name: value.get_secret_value() for name, value in form.headers.items()}
        try:
            backend = EthSign(form.url, form.address, outbound, headers=headers, max_parallel=form.max_parallel)
        except ValueError as error:
            raise SigningKeyError(f"key.eth_sign: {error}") from None
        return CheckedKey(backend, form.address, timeout_seconds=form.timeout_seconds)
    if config.aws_kms is not None:
        kms = _open_aws_kms(config.aws_kms, outbound)
        address = checked_address(kms.name, kms.find_address, config.address)
        limits = config.aws_kms
        return CheckedKey(kms, address, timeout_seconds=limits.timeout_seconds, max_per_second=limits.max_per_second)
    if config.pkcs11 is not None:
        token = _open_pkcs11(config.pkcs11)
        address = checked_address(token.name, token.find_address, config.address)
        return CheckedKey(token, address, timeout_seconds=config.pkcs11.timeout_seconds)
    raise SigningKeyError("no key outside this host is configured")


def _open_aws_kms(form: AwsKmsConfig, outbound: Outbound) -> AwsKms:
    try:
        from livepeer_remote_signer.adapters.keys.aws_kms import AwsKms
    except ImportError:
        raise SigningKeyError("key.aws_kms needs the extra `aws`: install livepeer-remote-signer[aws]") from None
    return AwsKms(
        form.key_id,
        form.region,
        form.endpoint_url,
        timeout_seconds=form.timeout_seconds,
        max_parallel=form.max_parallel,
        proxy=outbound.proxy,
    )


def _open_pkcs11(form: Pkcs11Config) -> Pkcs11:
    try:
        from livepeer_remote_signer.adapters.keys.pkcs11 import Pkcs11
    except ImportError:
        raise SigningKeyError("key.pkcs11 needs the extra `pkcs11`: install livepeer-remote-signer[pkcs11]") from None
    pin = read_secret_file(form.pin_file, "key.pkcs11.pin_file")
    return Pkcs11(form.module, form.token_label, form.key_label, pin)


def open_transaction_key(config: KeyConfig, outbound: Outbound) -> LocalTransactionKey | OutsideTransactionKey:
    """The key of the configuration, for a command that sends transactions. Raises SigningKeyError."""
    from livepeer_remote_signer.adapters.transaction_keys import LocalTransactionKey, OutsideTransactionKey

    if config.external is None:
        return LocalTransactionKey(open_signing_key(config).address, load_secret(config))
    if config.aws_kms is not None:
        kms = _open_aws_kms(config.aws_kms, outbound)
        return OutsideTransactionKey(checked_address(kms.name, kms.find_address, config.address), kms.sign_digest)
    if config.pkcs11 is not None:
        token = _open_pkcs11(config.pkcs11)
        return OutsideTransactionKey(checked_address(token.name, token.find_address, config.address), token.sign_digest)
    raise SigningKeyError(
        f"key.{config.external} signs messages, and no transactions: send this one with a tool of that service's, or give {_LOCAL}"
    )


def open_sender(key: KeyConfig, state: StateConfig, outbound: Outbound) -> Sender:
    """The sender that a key pays as. Raises SigningKeyError."""
    if key.external is None:
        local = open_signing_key(key)
        return Sender(local.address, open_mac_key(state, local), local, None)
    outside = open_external_key(key, outbound)
    return Sender(outside.address, open_mac_key(state, None), None, outside)


def open_info_signature(sender: Sender) -> InfoSignature:
    """The signature that it shows to orchestrators, not made yet."""
    return InfoSignature(sender.address, sender.sign)


def open_seal(config: StateConfig, sender: Sender, clock_ns: Callable[[], int], others: Sequence[bytes] | None = None) -> StateSeal:
    """The seal over states, with the previous keys that are still accepted.

    With a key outside this host the MAC key is derived for the sender: one MAC key may serve several, and none takes another's
    states. So it is where there are several senders. `others` are those beside this one, present and former: their states are known
    as theirs.
    """
    previous = [_open_previous_key(each) for each in config.previous]
    if sender.local is not None and others is None:
        sign = sender.local.sign_personal if config.seal == "signature" else None
        return StateSeal(sender.address, sign=sign, mac_key=sender.mac_key, previous=tuple(previous), clock_ns=clock_ns)
    mac_key = derive_sender_mac_key(sender.mac_key, sender.address)
    former_macs = [(p.mac_key, p.accept_until_ns) for p in previous if p.sender is None]
    known = [(other, FOR_EVER_NS) for other in others or ()] + [(p.sender, p.accept_until_ns) for p in previous if p.sender is not None]
    derived = [PreviousKey(derive_sender_mac_key(mac, sender.address), None, until_ns) for mac, until_ns in former_macs]
    theirs = [
        PreviousKey(derive_sender_mac_key(mac, address), address, min(until_ns, mac_until_ns))
        for mac, mac_until_ns in ((sender.mac_key, FOR_EVER_NS), *former_macs)
        for address, until_ns in known
        if address != sender.address
    ]
    return StateSeal(sender.address, mac_key=mac_key, previous=(*previous, *derived, *theirs), clock_ns=clock_ns)


def open_mac_key(config: StateConfig, key: SigningKey | None) -> bytes:
    """The key that seals states by MAC, and that other keys are derived from. Raises SigningKeyError."""
    if config.mac_key is not None:
        return parse_private_key(config.mac_key.get_secret_value(), "state.mac_key")
    if config.mac_key_file is not None:
        return parse_private_key(read_secret_file(config.mac_key_file, "state.mac_key_file"), f"state.mac_key_file {config.mac_key_file}")
    if key is None:
        raise SigningKeyError("a key outside this host needs state.mac_key_file: signing-key mac makes one")
    return key.derive_mac_key()


def _open_previous_key(previous: PreviousSeal) -> PreviousKey:
    try:
        until_ns = parse_rfc3339_ns(previous.accept_until) or 0
    except ValueError:
        raise SigningKeyError("state.previous: accept_until is not a time such as 2026-04-07T20:00:00Z") from None
    secret = None
    if previous.private_key_file is not None:
        secret = load_private_key_file(previous.private_key_file)
    elif previous.keystore_file is not None and previous.password_file is not None:
        secret = load_keystore(previous.keystore_file, read_password_file(previous.password_file), None)
    if secret is not None:
        old = SigningKey(secret)
        return PreviousKey(old.derive_mac_key(), old.address, until_ns)
    if previous.mac_key_file is None:
        raise SigningKeyError("state.previous: give exactly one of private_key_file, keystore_file and mac_key_file")
    text = read_secret_file(previous.mac_key_file, "state.previous mac_key_file")
    return PreviousKey(parse_private_key(text, f"state.previous mac_key_file {previous.mac_key_file}"), None, until_ns)
