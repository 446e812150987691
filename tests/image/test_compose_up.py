"""docker/compose.yaml, up on an engine: the gateway's key pays, nobody else does, on either ledger."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from uuid import uuid4

import pytest
from eth_account import Account

from tests.environments.conftest import skip_or_fail
from tests.image.engine import IMAGE, ROOT, Engine, NoEngine, compose_program
from tests.image.test_run import PYTHON
from tests.served import live_body
from tests.signer import PAY, configuration

FUNDED = json.dumps(configuration()["chain"]["static"])
"""SIGNER_NETWORK is offchain: no chain can be reached from here, and what it would say of the funds stands in the file."""

ASKING = f"""
import http.client, sys
connection = http.client.HTTPConnection("signer", 8936, timeout=20)
connection.request("POST", "{PAY}", sys.stdin.buffer.read(), dict(word.split(":", 1) for word in sys.argv[1:]))
reply = connection.getresponse()
print(reply.status, reply.read().decode())
"""


@pytest.fixture(scope="module")
def compose(engine: Engine) -> list[str]:
    try:
        return compose_program(engine)
    except NoEngine as missing:
        skip_or_fail(str(missing))
        raise


@pytest.mark.parametrize(("config", "services"), [("./signer.yaml", []), ("./signer.postgres.yaml", ["postgres"])])
def test_the_gateways_key_pays_and_nothing_else_does(
    tmp_path: Path, engine: Engine, compose: list[str], config: str, services: list[str]
) -> None:
    folder, project = tmp_path / "docker", f"lrs{uuid4().hex[:8]}"
    shutil.copytree(ROOT / "docker", folder, ignore=shutil.ignore_patterns("secrets", ".env"))
    (folder / config).write_text((folder / config).read_text().replace("  source: rpc\n", f"  source: rpc\n  static: {FUNDED}\n"))
    account = Account.from_key("0x" + "11" * 32)
    (folder / "secrets").mkdir()
    (folder / "secrets" / "keystore.json").write_text(json.dumps(Account.encrypt(account.key, "geheim", iterations=1 << 12)))
    (folder / "secrets" / "keystore-password").write_text("geheim\n")
    named = {
        "ETH_RPC_URL": "https://unused.example",
        "SIGNER_ETH_ADDR": account.address,
        "SIGNER_NETWORK": "offchain",
        "SIGNER_CONFIG": config,
    }
    (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in named.items()))
    subprocess.run(["sh", str(folder / "make-secrets")], check=True, capture_output=True)
    command = [*compose, "-p", project, "-f", str(folder / "compose.yaml"), *(["--profile", "postgres"] if services else [])]

    def up(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, *words], env=engine.environ, capture_output=True, text=True, check=False)

    def ask(*headers: str) -> str:
        asked = ["run", "--rm", "-i", "--network", f"{project}_paying", "--entrypoint", PYTHON, IMAGE, "-c", ASKING, *headers]
        return engine.docker(*asked, given=live_body().decode()).stdout.strip()

    try:
        started = up("up", "-d", "--no-build", "--wait", "--wait-timeout", "120", *services, "signer")
        assert started.returncode == 0, started.stderr + up("logs").stdout
        header = (folder / "secrets" / "gateway.conf").read_text().split(" ", 1)[1].strip()
        for headers, status in (((header,), "200 "), ((), "401 "), ((header[:-2] + "xx",), "401 ")):
            assert (answer := ask(*headers)).startswith(status), answer
        ledger = "PostgreSQL at postgres/signer" if services else "SQLite at /data/ledger.sqlite"
        assert f"ledger: {ledger}, in use since" in up("logs", "signer").stdout
    finally:
        up("down", "-v", "--timeout", "10")
