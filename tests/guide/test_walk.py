"""From nothing to a signer that pays, and back: every command of the operator guide as the guide has it, on anvil with its addresses."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chain.evm import CHAIN_ID, ETH, Evm, ToolsMissing, install_tools, running_anvil
from tests.guide.commands import Command, commands, configuration
from tests.ports import free_port
from tests.simulators import Chain, Clock, Network, Offer, Orchestrator

pytestmark = [pytest.mark.guide, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
ZERO = "0x" + "0" * 40
LONGEST_SECONDS = 180
"""What the whole walk may take."""

BUSY = 3
"""How many times as long, where the machine is busy with something else."""

ASKS = re.compile(r"livepeer-remote-signer (fund|unlock|cancel-unlock|withdraw) ")
STATUSES = {
    r"livepeer-remote-signer doctor": 1,  # nothing is paid in yet
    r"livepeer-remote-signer events (retry|drop) .*[0-9a-f]{8}-": 1,  # no such event is parked
    r"livepeer-remote-signer advise": (0, 1),
}
"""Of commands that do not end with 0 at their place in the guide."""


class Walk:
    """A folder like a checkout, the guide's configuration in it, and a signer that serves with it."""

    def __init__(self, home: Path, evm: Evm, orchestrator: str) -> None:
        self.home, self.evm, self.orchestrator = home, evm, orchestrator
        self.ports = [free_port(), free_port()]
        self.said = ""
        self.sender = ""
        self.key_ids: list[str] = []
        self.auth_id = ""
        self._serving: subprocess.Popen[bytes] | None = None
        (home / "docs").symlink_to(ROOT / "docs")
        shutil.copytree(ROOT / "docker", home / "docker", ignore=shutil.ignore_patterns("secrets", ".env"))
        (home / ".venv").mkdir()
        for part in Path(sys.prefix).iterdir():
            if part.name not in (".installed", ".serves"):
                (home / ".venv" / part.name).symlink_to(part)
        for name in ("Makefile", "pyproject.toml", "requirements-dev.lock", "requirements.lock", ".ci"):
            (home / name).symlink_to(ROOT / name)
        (home / ".venv" / ".installed").touch()
        for name in ("keystore.json", "keystore-password", "admin-token", "metrics-token", "postgres-ca.pem"):
            (home / name).write_text("x" * 32)
        self.environment = {
            "PATH": f"{home}/.venv/bin:{os.environ['PATH']}",
            "HOME": str(home),
            "XDG_STATE_HOME": str(home / "state"),
            "FIRST_RPC_URL": evm.url,
            "SECOND_RPC_URL": evm.url,
            "PAYMENTS": "2",
            "PAUSE": "1",
        }

    # --- what the guide leaves to the reader ---

    def place(self, text: str) -> str:
        """The guide's placeholders replaced by what is true here."""
        for port, here in zip(("8936", "8937"), self.ports, strict=True):
            text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{here}")
        text = re.sub(r"https://orch(estrator)?\.example:8935", self.orchestrator, text)
        if self.key_ids:
            text = text.replace("0123456789abcdef", self.key_ids[0]).replace("fedcba9876543210", self.key_ids[-1])
        return text.replace(ZERO, self.sender or ZERO).replace("$TOKEN", self.token)

    @property
    def token(self) -> str:
        file = self.home / "secrets" / "admin-token"
        return file.read_text().strip() if file.exists() else "$TOKEN"

    def configure(self, **sections: Any) -> None:
        """The guide's configuration with the addresses of this chain, and what later sections of the guide add."""
        document = yaml.safe_load(self.place(configuration("Configuration")))
        document["chain"]["rpc"] |= {"controller": self.evm.controller.address, "chain_id": CHAIN_ID, "poll_seconds": 1}
        document["prices"]["currency_feed"] = {"address": self.evm.feed.address}
        document["orchestrators"] = {"allow_private_addresses": True}
        for name, section in sections.items():
            document[name] = {**document.get(name, {}), **section} if isinstance(section, dict) else section
        (self.home / "config.yaml").write_text(yaml.safe_dump(document))
        treasury = {"key": {"private_key_file": str(self.home / "treasury.key")}, "chain": document["chain"]}
        (self.home / "treasury.yaml").write_text(yaml.safe_dump(treasury))

    def prepare(self, command: Command) -> None:
        """What has to be so before a command, which the guide says in words."""
        text = command.text
        if text.startswith("livepeer-remote-signer check-config"):
            self.sender = "0x" + json.loads((self.home / "secrets" / "keystore.json").read_text())["address"].removeprefix("0x")
            self.evm.give(bytes.fromhex(self.sender[2:]), 10 * ETH)
            treasury = self.home / "treasury.key"
            treasury.touch(0o600)
            treasury.write_text("0c" * 32)
            self.evm.give(bytes.fromhex("2B5AD5c4795c026514f8317c7a215E218DcCD6cF"), 10 * ETH)
            self.evm.give(bytes.fromhex(treasury_address()), 10 * ETH)
            self.configure()
        elif command.heading == "First payment" and "/readyz" in text:
            self.serve()
        elif text.startswith("livepeer-remote-signer keys create --config") and not self.key_ids:
            self.end()
            self.configure(auth={"api_keys_file": "./secrets/api-keys.json"})
        elif "/admin/keys" in text:
            self.end()
            self.configure(**yaml.safe_load(self.place(configuration("Hundreds of users"))))
            self.serve()
        elif "serve --config" in text or "ledger compact" in text:
            self.end()
        elif text.startswith("livepeer-remote-signer ledger backup"):
            self.serve()
        elif text.startswith("livepeer-remote-signer withdraw"):
            self.run("livepeer-remote-signer unlock --config config.yaml", 0)
            for _ in range(2):
                self.evm.next_round()

    def after(self, command: Command, output: str) -> None:
        """What a command must have done, and what later ones need of it."""
        text = command.text
        if text.startswith("livepeer-remote-signer keys create --config") and not self.key_ids:
            key = re.search(r"lrs_([0-9a-f]{16})_[\w-]+", output)
            assert key is not None, output
            self.key_ids.append(key[1])
            os.chown(self.home / "secrets" / "api-keys.json", *((65534, 65534) if os.getuid() == 0 else (-1, -1)))
            self.serve()
            self.paid_with(key[0])
        elif (
            text.startswith("livepeer-remote-signer keys revoke --config config.yaml 0123456789abcdef")
            and command.heading == "Who may spend"
        ):
            owner = (self.home / "secrets" / "api-keys.json").stat()
            assert owner.st_uid == (65534 if os.getuid() == 0 else os.getuid()), "whoever revokes, the file stays its owner's"
            self.until(lambda: self.call("POST", "/sign-orchestrator-info", {"Authorization": "Bearer lrs_" + "0" * 16}) == 401)
        elif "/admin/keys" in text and "first-batch" in text:
            made = json.loads(output)["keys"]
            assert len(made) == 300
            self.key_ids = [made[0]["id"], made[1]["id"]]
            self.auth_id = made[0]["auth_id"]
            self.paid_with(made[0]["key"])
        elif "/admin/budgets/top-up" in text:
            assert json.loads(output)["budgets"][0]["limit_wei"] == str(7 * ETH // 100)
        elif text.startswith("livepeer-remote-signer usage --config config.yaml --from"):
            assert "total_ev_wei" in output
        elif text.startswith("livepeer-remote-signer ledger backup"):
            assert (self.home / "ledger-backup.sqlite").stat().st_size > 4096
        elif text.startswith("livepeer-remote-signer withdraw"):
            assert "no deposit and no reserve: no ticket can be signed" in output
            assert self.evm.deposit_of(bytes.fromhex(self.sender[2:])) == 0
        elif "session.sh" in text:
            assert output.count("payment ") == 2, output

    # --- carrying it out ---

    def carry_out(self, command: Command) -> None:
        self.prepare(command)
        text = self.place(command.text)
        if " serve " in text:
            self.serve(text)
            self.end()
            return
        wanted = next((status for pattern, status in STATUSES.items() if re.match(pattern, command.text)), 0)
        self.after(command, self.run(text, wanted))

    def run(self, text: str, wanted: int | tuple[int, ...]) -> str:
        """What the command said, on a terminal where it asks; fails at another exit status than `wanted`."""
        began = time.monotonic()
        if ASKS.match(text):
            status, output = self._on_terminal(text)
        else:
            done = subprocess.run(
                ["bash", "-c", text], cwd=self.home, env=self.environment, capture_output=True, text=True, timeout=240, check=False
            )
            status, output = done.returncode, done.stdout + done.stderr
        self.said += f"$ {text}   # {time.monotonic() - began:.1f} s\n{output}\n"
        assert status == wanted or (isinstance(wanted, tuple) and status in wanted), (
            f"exit status {status}, not {wanted}: {text}\n{output}\n{self.log}"
        )
        return output

    def _on_terminal(self, text: str) -> tuple[int, str]:
        """Answers yes where it asks."""
        ours, theirs = pty.openpty()
        process = subprocess.Popen(["bash", "-c", text], cwd=self.home, env=self.environment, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        seen = b""
        with contextlib.suppress(OSError):  # the terminal of a process that ended
            while part := os.read(ours, 4096):
                if b"[y/N]" in part or b"[y/N]" in (seen + part)[len(seen) - 8 if len(seen) > 8 else 0 :]:
                    os.write(ours, b"y\n")
                seen += part
        os.close(ours)
        return process.wait(120), seen.decode()

    def serve(self, text: str = "livepeer-remote-signer serve --config config.yaml") -> None:
        """The signer, ready."""
        if self._serving is not None:
            return
        with (self.home / "signer.log").open("ab") as log:
            self._serving = subprocess.Popen(text.split(), cwd=self.home, env=self.environment, stdout=log, stderr=log)
        self.until(lambda: self.call("GET", "/readyz") == 200)

    def end(self) -> None:
        """Stops it as a service manager does."""
        if self._serving is not None:
            self._serving.send_signal(signal.SIGTERM)
            assert self._serving.wait(40) == 0, self.log
            self._serving = None

    @property
    def log(self) -> str:
        file = self.home / "signer.log"
        return file.read_text()[-3000:] if file.exists() else ""

    def until(self, holds: Any) -> None:
        end = time.monotonic() + 60
        while not holds():
            assert self._serving is None or self._serving.poll() is None, self.log
            assert time.monotonic() < end, self.log
            time.sleep(0.1)

    def call(self, method: str, path: str, headers: dict[str, str] | None = None) -> int:
        lines = [part for name, value in (headers or {}).items() for part in ("-H", f"{name}: {value}")]
        url = f"http://127.0.0.1:{self.ports[0]}{path}"
        done = subprocess.run(
            ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-X", method, *lines, url], capture_output=True, text=True, check=False
        )
        return int(done.stdout or 0)

    def paid_with(self, key: str) -> None:
        """A session with a key."""
        where = f"PAYMENTS=1 SIGNER=http://127.0.0.1:{self.ports[0]} ORCHESTRATOR={self.orchestrator}"
        script = f"AUTH='Authorization: Bearer {key}' {where} docs/examples/session.sh"
        assert self.run(script, 0).count("payment ") == 1


def treasury_address() -> str:
    from eth_account import Account

    return str(Account.from_key("0x" + "0c" * 32).address)[2:]


@pytest.fixture(scope="module")
def evm() -> Iterator[Evm]:
    missing = [tool for tool in ("curl", "jq", "openssl") if shutil.which(tool) is None]
    try:
        tools = install_tools()
    except ToolsMissing as error:
        missing.append(str(error))
    if missing:
        if os.environ.get("LRS_REQUIRE_ALL") == "1":
            pytest.fail(f"{missing} must be here")
        pytest.skip(f"needs {missing}")
    with running_anvil(tools) as anvil:
        yield Evm(anvil, tools)


@pytest.fixture
async def orchestrator(evm: Evm) -> AsyncIterator[Orchestrator]:
    """One that is registered, at prices below the guide's ceilings."""
    evm.send(evm.feed.functions.set(3000 * 10**8, int(time.time())))
    node = Orchestrator(Clock(time.time_ns()), Chain(), Offer(15_000_000_000))
    from eth_utils.address import to_checksum_address

    evm.join(to_checksum_address(node.address))
    evm.next_round()
    node.chain = node.recipient.chain = Chain(evm.web3.eth.block_number, evm.rounds.functions.lastInitializedRound().call(), evm.round_hash)
    async with Network() as network:
        await network.host_orchestrator(node)

        async def keep_time() -> None:
            while True:
                node.clock.now_ns = time.time_ns()
                await asyncio.sleep(0.01)

        ticking = asyncio.create_task(keep_time())
        yield node
        ticking.cancel()


def test_every_command_is_carried_out_or_says_what_it_would_need() -> None:
    found = commands()
    assert len(found) > 50
    left_out = [command.text for command in found if command.needs_more]
    assert all(text.split()[0] in ("docker", "kubectl", "sudo", "ssh", "aws", "pkcs11-tool") for text in left_out)
    assert sum(command.text.startswith("livepeer-remote-signer") for command in found) > 30


async def test_the_guide_works_line_by_line(evm: Evm, orchestrator: Orchestrator, tmp_path: Path) -> None:
    walk = Walk(tmp_path, evm, orchestrator.url)
    began = time.monotonic()
    found = [command for command in commands() if not command.needs_more]
    in_order = [c for c in found if c.heading != "Taking funds out"] + [c for c in found if c.heading == "Taking funds out"]

    def go() -> None:
        try:
            for command in in_order:
                walk.carry_out(command)
        finally:
            walk.end()

    try:
        await asyncio.to_thread(go)
    finally:
        print(walk.said)
    assert not orchestrator.refusals
    assert time.monotonic() - began < LONGEST_SECONDS * BUSY
