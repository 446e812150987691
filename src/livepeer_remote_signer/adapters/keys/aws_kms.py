"""A key in AWS KMS, of the spec ECC_SECG_P256K1: it signs the digest as it is, returns DER, and either half of s.

Credentials come from where AWS's own tools find them: environment, profile, container, instance. The library makes no second try of
its own: a payment has two seconds, and who asks too often is told so.
"""

from __future__ import annotations

import logging
import re
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ConnectionClosedError, NoCredentialsError
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256K1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from livepeer_remote_signer.adapters.keys.external import point_address
from livepeer_remote_signer.adapters.keys.loading import SigningKeyError
from livepeer_remote_signer.adapters.keys.threads import KeyThreads
from livepeer_remote_signer.core.errors import KeyThrottled, KeyUnavailable
from livepeer_remote_signer.core.protocol.eip191 import personal_digest

_CODE = re.compile(r"[A-Za-z0-9.:_-]{1,80}")
_THROTTLED = frozenset(("ThrottlingException", "Throttling", "TooManyRequestsException", "RequestLimitExceeded", "LimitExceededException"))
_WORDS = {
    "AccessDeniedException": "these credentials may not use the key: kms:Sign and kms:GetPublicKey are needed",
    "NotFoundException": "no such key in this region and account",
    "DisabledException": "the key is disabled",
    "KMSInvalidStateException": "the key is not enabled",
    "KeyUnavailableException": "the key is not available just now",
    "UnrecognizedClientException": "these credentials are not known to AWS",
    "ExpiredTokenException": "these credentials have expired",
    "InvalidKeyUsageException": "the key is not one that signs",
}


class AwsKms:
    """One key of AWS KMS."""

    name = "aws_kms"

    def __init__(
        self,
        key_id: str,
        region: str,
        endpoint_url: str | None = None,
        *,
        timeout_seconds: float = 2.0,
        max_parallel: int = 16,
        proxy: str | None = None,
    ) -> None:
        """Raises SigningKeyError where no client can be made."""
        self.max_parallel = max_parallel
        self._key_id = key_id
        self._threads = KeyThreads("aws-kms", max_parallel)
        for library in ("boto3", "botocore", "urllib3"):
            logging.getLogger(library).setLevel(logging.WARNING)  # below it they log what they send
        config = Config(
            retries={"total_max_attempts": 1},
            connect_timeout=timeout_seconds,
            read_timeout=timeout_seconds,
            max_pool_connections=max_parallel,
            proxies={} if proxy is None else {"http": proxy, "https": proxy},
        )
        try:
            self._client: Any = boto3.session.Session().client("kms", region_name=region, endpoint_url=endpoint_url, config=config)
        except (BotoCoreError, ValueError) as error:
            raise SigningKeyError(f"key.aws_kms cannot be used: {type(error).__name__}: are region and endpoint_url right?") from None

    def __repr__(self) -> str:
        return "AwsKms()"

    def find_address(self) -> bytes:
        """The address of the key; waits for the service. Raises KeyUnavailable, and SigningKeyError for a key that cannot sign tickets."""
        answer = self._ask("get_public_key", KeyId=self._key_id)
        try:
            key = load_der_public_key(answer["PublicKey"])
        except (ValueError, KeyError, TypeError, UnsupportedAlgorithm):
            raise KeyUnavailable("returned what is no public key") from None
        if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256K1):
            raise SigningKeyError("key.aws_kms names a key of another kind: its key spec must be ECC_SECG_P256K1, its usage SIGN_VERIFY")
        return point_address(key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))

    async def sign(self, message: bytes) -> bytes:
        """r || s over the EIP-191 personal message. Raises KeyUnavailable, KeyThrottled."""
        digest = personal_digest(message)
        return await self._threads.run(lambda: self.sign_digest(digest))

    async def aclose(self) -> None:
        """Ends threads and connections."""
        self._threads.close()
        self._client.close()

    def sign_digest(self, digest: bytes) -> bytes:
        """r || s over these 32 bytes; waits for the service. Raises KeyUnavailable, KeyThrottled."""
        request = {"KeyId": self._key_id, "Message": digest, "MessageType": "DIGEST", "SigningAlgorithm": "ECDSA_SHA_256"}
        answer = self._ask("sign", **request)
        try:
            r, s = decode_dss_signature(answer["Signature"])
            return r.to_bytes(32, "big") + s.to_bytes(32, "big")
        except (ValueError, KeyError, TypeError, OverflowError):
            raise KeyUnavailable("returned what is no signature: DER of two numbers is expected") from None

    def _ask(self, operation: str, **request: Any) -> Any:
        """Once more where a kept connection ended meanwhile."""
        try:
            try:
                return getattr(self._client, operation)(**request)
            except ConnectionClosedError:
                return getattr(self._client, operation)(**request)
        except ClientError as error:
            raise _refusal(error) from None
        except NoCredentialsError:
            raise KeyUnavailable("cannot be asked: AWS's tools find no credentials here") from None
        except BotoCoreError as error:
            raise KeyUnavailable(f"could not be reached ({type(error).__name__})") from None
        except Exception as error:  # noqa: BLE001 - the library lets garbage through to wherever it breaks
            raise KeyUnavailable(f"gave an answer that is not AWS KMS's ({type(error).__name__})") from None


def _refusal(error: ClientError) -> KeyUnavailable | KeyThrottled:
    said = str(error.response.get("Error", {}).get("Code", ""))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    code = said if _CODE.fullmatch(said) else "an error"
    if said in _THROTTLED or status == 429:
        return KeyThrottled(f"the key's service takes no more requests now ({code})", retry_after_seconds=1)
    return KeyUnavailable(f"answered {code}" + (f": {_WORDS[said]}" if said in _WORDS else ""))
