"""The calls that the HTTP reference and the guides show, made with curl against a running signer."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.api_keys import create_key
from tests.docs.test_docs import ROOT, snippets
from tests.signer import running_signer

CALLS = [block for block in snippets("sh") if "curl" in block.values[0]]
TOKEN = secrets.token_hex(32)


@pytest.fixture(autouse=True)
def _curl() -> None:
    if shutil.which("curl") is None:
        if os.environ.get("LRS_REQUIRE_ALL") == "1":
            pytest.fail("curl is not installed")
        pytest.skip("curl is not installed")


def readme_configuration() -> dict[str, object]:
    text = (ROOT / "README.md").read_text()
    block = re.search(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert block is not None
    tree: dict[str, object] = yaml.safe_load(block[1])
    return tree


def placed(text: str, base: str, admin: str) -> Iterator[str]:
    """The snippet with the test's own ports; a line that fails ends it."""
    yield "set -eu"
    yield text.replace("http://127.0.0.1:8936", base).replace("http://127.0.0.1:8937", admin)


@pytest.mark.parametrize("text", CALLS)
async def test_the_call_is_answered_as_shown(text: str, tmp_path: Path) -> None:
    token_file = tmp_path / "token"
    token_file.write_text(TOKEN)
    chain = readme_configuration()["chain"]
    ledger = {"backend": "sqlite", "path": str(tmp_path / "ledger.sqlite")}
    auth, key = {}, ""
    if "$API_KEY" in text:
        key, _ = create_key(tmp_path / "keys.json", name="acme", auth_id="acme", now=5)
        auth = {"auth": {"api_keys_file": str(tmp_path / "keys.json")}}
    if "/admin/keys" in text:
        auth = {"auth": {"api_keys_in_ledger": True}}
    async with running_signer(admin_token_file=token_file, manage_users=True, chain=chain, ledger=ledger, **auth) as signer:
        assert signer.admin is not None
        script = "\n".join(placed(text, str(signer.client.base_url).rstrip("/"), str(signer.admin.base_url).rstrip("/")))
        process = await asyncio.create_subprocess_exec(
            "sh",
            "-c",
            script,
            env={**os.environ, "TOKEN": TOKEN, "API_KEY": key},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate()
        assert process.returncode == 0, said.decode()
        assert said
