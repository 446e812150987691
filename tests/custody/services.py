"""The real services: what each needs of the machine is installed once, into a folder that git ignores, or said to be missing."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import pkcs11
from botocore.config import Config
from botocore.exceptions import BotoCoreError
from pkcs11 import Attribute, KeyType
from pkcs11.util.ec import encode_named_curve_parameters

from tests.ports import free_port

CACHE = Path(__file__).parent.parent.parent / ".cache" / "custody"
LOCAL_KMS = "github.com/nsmithuk/local-kms"
LOCAL_KMS_VERSION = "v0.0.0-20260228092603-2a5e92d09ab6"
"""Its checksum stands in Go's public log of checksums, which `go install` holds it against."""

REGION = "eu-west-2"
AWS_ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true"}
SOFTHSM_LIBRARIES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
)
TOKEN, KEY_LABEL, PIN = "lrs", "sender", "271828"


class PartMissing(Exception):
    """What a service needs is not on this machine, and could not be installed."""


def install_local_kms() -> Path:
    """The program, built from its Go module. Raises PartMissing."""
    go = shutil.which("go") or shutil.which("/usr/local/go/bin/go")
    if go is None:
        raise PartMissing("there is no Go here")
    CACHE.mkdir(parents=True, exist_ok=True)
    program = CACHE / "local-kms"
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp = CACHE / "local-kms.version"
        if not program.exists() or not stamp.exists() or stamp.read_text() != LOCAL_KMS_VERSION:
            environment = {**os.environ, "GOBIN": str(CACHE), "CGO_ENABLED": "0"}
            command = [go, "install", f"{LOCAL_KMS}@{LOCAL_KMS_VERSION}"]
            for is_last in (False, False, True):  # a registry may fail once
                done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
                if done.returncode == 0:
                    break
                if is_last:
                    raise PartMissing(done.stderr[-2000:])
            stamp.write_text(LOCAL_KMS_VERSION)
    return program


class Kms(NamedTuple):
    """A running service, and one key in it."""

    endpoint: str
    key_id: str
    process: subprocess.Popen[bytes]


@contextlib.contextmanager
def running_kms(program: Path, folder: Path) -> Iterator[Kms]:
    """A service with one key that signs."""
    port = free_port()
    environment = {"PORT": str(port), "KMS_DATA_PATH": str(folder / "kms"), "KMS_REGION": REGION, "KMS_SEED_PATH": str(folder / "none")}
    with (folder / "kms.log").open("wb") as log:
        process = subprocess.Popen([str(program)], env={**os.environ, **environment}, stdout=log, stderr=log)
    try:
        endpoint = f"http://127.0.0.1:{port}"
        yield Kms(endpoint, _make_kms_key(endpoint, process), process)
    finally:
        process.kill()
        process.wait(10)


def kms_client(endpoint: str) -> Any:
    """A client with credentials that this service takes."""
    return boto3.session.Session(aws_access_key_id="test", aws_secret_access_key="test").client(
        "kms", region_name=REGION, endpoint_url=endpoint, config=Config(retries={"total_max_attempts": 1}, proxies={})
    )


def _make_kms_key(endpoint: str, process: subprocess.Popen[bytes]) -> str:
    client, end = kms_client(endpoint), time.monotonic() + 60
    while True:
        try:
            made = client.create_key(KeySpec="ECC_SECG_P256K1", KeyUsage="SIGN_VERIFY")
        except BotoCoreError:
            assert process.poll() is None, "local-kms ended"
            assert time.monotonic() < end, "local-kms does not answer"
            time.sleep(0.05)
        else:
            key_id: str = made["KeyMetadata"]["KeyId"]
            return key_id


class SoftHsm(NamedTuple):
    """A token in files. `environment` leads every process to it."""

    library: Path
    environment: dict[str, str]
    pin_file: Path

    def config(self, key_label: str = KEY_LABEL) -> dict[str, Any]:
        """The section `key.pkcs11`."""
        return {"module": str(self.library), "token_label": TOKEN, "key_label": key_label, "pin_file": str(self.pin_file)}


def make_token(folder: Path) -> SoftHsm:
    """A new token of this process and those it starts, with one key that signs. Raises PartMissing."""
    library = next((Path(path) for path in SOFTHSM_LIBRARIES if Path(path).exists()), None)
    if library is None or shutil.which("softhsm2-util") is None:
        raise PartMissing("SoftHSM is not installed: the package softhsm2")
    tokens, config, pin_file = folder / "tokens", folder / "softhsm2.conf", folder / "pin"
    tokens.mkdir()
    config.write_text(f"directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n")
    pin_file.write_text(PIN)
    pin_file.chmod(0o600)
    os.environ["SOFTHSM2_CONF"] = str(config)
    command = ["softhsm2-util", "--init-token", "--free", "--label", TOKEN, "--pin", PIN, "--so-pin", secrets.token_hex(8)]
    subprocess.run(command, check=True, capture_output=True)
    pkcs11.lib(str(library)).reinitialize()  # it knows the tokens of before
    make_hsm_key(library, KEY_LABEL)
    return SoftHsm(library, {"SOFTHSM2_CONF": str(config)}, pin_file)


def make_hsm_key(library: Path, label: str, curve: str = "secp256k1", *, with_public: bool = True) -> None:
    """One more key in the token."""
    with pkcs11.lib(str(library)).get_token(token_label=TOKEN).open(rw=True, user_pin=PIN) as session:
        parameters = session.create_domain_parameters(KeyType.EC, {Attribute.EC_PARAMS: encode_named_curve_parameters(curve)}, local=True)
        public, _ = parameters.generate_keypair(store=True, label=label)
        if not with_public:
            public.destroy()
