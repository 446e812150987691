#!/usr/bin/env python3
"""Replays the image's own steps without a container engine, and uses what comes out.

    python docker/smoke_test.py [--keep FOLDER]

The build stage of the Dockerfile is carried out line by line in an empty folder: its COPY lines only see what
.dockerignore lets through, its RUN lines make the wheel and install it with the lock. The result is then started as the
image starts it: as user 65532 without capabilities and, where this process is root, on a root file system mounted
read-only. It must become ready, sign a payment and drain on SIGTERM. Needs nothing but Python.
"""

from __future__ import annotations

import argparse
import ctypes
import fnmatch
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, NoReturn

REPOSITORY = Path(__file__).resolve().parent.parent
USER = 65532
READY_SECONDS = 20
_CONTAINER_PATHS = re.compile(r"(?<![\w.$/}-])(/opt/(?:build|signer)|/dist)\b")
_MS_RDONLY, _MS_REMOUNT, _MS_BIND, _MS_MOVE, _MS_REC, _MS_PRIVATE = 1, 32, 4096, 8192, 16384, 1 << 18
_CLONE_NEWNS = 0x00020000
_PR_SET_NO_NEW_PRIVS, _PR_CAPBSET_DROP, _LAST_CAPABILITY = 38, 24, 40


class SmokeTestError(Exception):
    """The image would not work; the message says which step failed."""


def read_dockerfile(text: str) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile as (word, rest), continued lines joined, comments dropped."""
    joined = re.sub(r"\\\n", " ", "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#")))
    lines = [line.strip() for line in joined.splitlines() if line.strip()]
    return [(word.upper(), rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


def build_stage(instructions: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The instructions of the first stage."""
    starts = [index for index, (word, _) in enumerate(instructions) if word == "FROM"]
    return instructions[starts[0] + 1 : starts[1]]


def is_sent_to_builder(path: str, patterns: list[str]) -> bool:
    """Whether .dockerignore lets a path through: the last pattern that matches it, or a folder above it, decides."""
    sent = True
    parents = ["/".join(path.split("/")[:n]) for n in range(1, path.count("/") + 2)]
    for pattern in patterns:
        bare = pattern.removeprefix("!").removeprefix("**/")
        names = parents + [p.rsplit("/", 1)[-1] for p in parents] if "**/" in pattern else parents
        if any(fnmatch.fnmatchcase(name, bare) for name in names):
            sent = pattern.startswith("!")
    return sent


def build(root: Path) -> None:
    """Carries out the build stage below `root`."""
    ignore = [p for p in (REPOSITORY / ".dockerignore").read_text().splitlines() if p and not p.startswith("#")]
    workdir = root
    env = {name: os.environ[name] for name in ("PATH", "HOME", "PIP_CERT", "SSL_CERT_FILE", "PIP_INDEX_URL") if name in os.environ}
    for word, rest in build_stage(read_dockerfile((REPOSITORY / "Dockerfile").read_text())):
        if word == "ENV":
            env.update(item.split("=", 1) for item in rest.split() if "CACHE" not in item)
        elif word == "WORKDIR":
            workdir = root / rest.lstrip("/")
            workdir.mkdir(parents=True, exist_ok=True)
        elif word == "COPY":
            *sources, target = rest.split()
            for source in sources:
                copy_from_context(source, workdir / target / ("" if target != "./" else Path(source).name), ignore)
        elif word == "RUN":
            command = _CONTAINER_PATHS.sub(lambda m: str(root) + m[1], rest)
            command = re.sub(r"(^|&& )python ", rf"\1{sys.executable} ", command)
            print(f"  RUN {' '.join(rest.split())}", flush=True)
            step = ["/bin/sh", "-ec", command]
            if subprocess.run(step, cwd=workdir, env=env, check=False).returncode:  # noqa: S603 - the Dockerfile's own words
                raise SmokeTestError(f"the build step failed: {rest}")
        else:
            raise SmokeTestError(f"the build stage uses {word}, which this test does not know")


def copy_from_context(source: str, target: Path, ignore: list[str]) -> None:
    """COPY: a file or folder of the repository, without what .dockerignore keeps back."""
    origin = REPOSITORY / source
    found = [p for p in ([origin] if origin.is_file() else sorted(origin.rglob("*"))) if p.is_file()]
    sent = [p for p in found if is_sent_to_builder(p.relative_to(REPOSITORY).as_posix(), ignore)]
    if not sent:
        raise SmokeTestError(f".dockerignore keeps {source} from the builder")
    for path in sent:
        destination = target / path.relative_to(origin) if origin.is_dir() else target
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, destination)


def write_config(folder: Path, port: int) -> Path:
    """A configuration on static chain data, with a throw-away key and a ledger in the only folder that is writable."""
    (folder / "data").mkdir()
    (folder / "key").write_text(secrets.token_hex(32))
    config = folder / "config.yaml"
    config.write_text(
        f"listen: 127.0.0.1:{port}\n"
        f"key: {{private_key_file: {folder}/key}}\n"
        "chain:\n  source: static\n  static:\n"
        "    {l1_block: 100, last_initialized_round: 7, deposit_wei: 1eth, reserve_wei: 1eth,\n"
        f'     last_initialized_round_block_hash: "0x{"ab" * 32}"}}\n'
        f"ledger: {{backend: sqlite, path: {folder}/data/ledger.sqlite}}\n"
    )
    for path in (folder, folder / "data", folder / "key", config):
        if os.geteuid() == 0:
            os.chown(path, USER, USER)
    (folder / "key").chmod(0o400)
    return config


def become_container(writable: Path) -> None:
    """In the child, before exec: a read-only root where this is root, no capabilities, the image's user."""
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() == 0:
        _make_root_read_only(libc, writable)
        for capability in range(_LAST_CAPABILITY + 1):
            libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
        os.setgroups([])
        os.setgid(USER)
        os.setuid(USER)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def _make_root_read_only(libc: ctypes.CDLL, writable: Path) -> None:
    def mount(source: str | None, target: str, flags: int, kind: str | None = None, options: str | None = None) -> None:
        words = [text and text.encode() for text in (source, target, kind)]
        if libc.mount(*words, flags, options and options.encode()) != 0:
            raise OSError(ctypes.get_errno(), f"mount {target}")

    if libc.unshare(_CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    mount(None, "/", _MS_REC | _MS_PRIVATE)
    mount(str(writable), str(writable), _MS_BIND)
    python = Path(sys.base_prefix)
    closed = [folder for folder in reversed(python.parents) if not folder.stat().st_mode & 0o001]
    if closed:  # a Python in somebody's home: shown at its own path, with nothing beside it
        mount(str(python), "/mnt", _MS_BIND)
        mount("none", str(closed[0]), 0, "tmpfs", "mode=755")
        os.umask(0o022)
        python.mkdir(parents=True)
        mount("/mnt", str(python), _MS_MOVE)
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for point in sorted(set(points)):
        if point != str(writable) and not point.startswith(("/proc", "/sys", "/dev")):
            mount(None, point, _MS_REMOUNT | _MS_BIND | _MS_RDONLY)


def call(url: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
    """Status and JSON of a request."""
    request = urllib.request.Request(url, None if body is None else json.dumps(body).encode())  # noqa: S310 - our own http URL
    try:
        with urllib.request.urlopen(request, timeout=5) as reply:  # noqa: S310 - the same
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def use(port: int, process: subprocess.Popen[bytes]) -> None:
    """Health, readiness, the signature for orchestrators, and one payment."""
    base, deadline = f"http://127.0.0.1:{port}", time.monotonic() + READY_SECONDS
    while True:
        if process.poll() is not None:
            raise SmokeTestError(f"the signer ended with status {process.returncode} before it was ready")
        try:
            status, answer = call(f"{base}/readyz")
        except OSError:
            status, answer = 0, "no answer"
        if status == 200:
            break
        if time.monotonic() > deadline:
            raise SmokeTestError(f"not ready within {READY_SECONDS} s: {status} {answer}")
        time.sleep(0.1)
    expect(f"{base}/healthz", None)
    expect(f"{base}/sign-orchestrator-info", {})
    paid = expect(f"{base}/signTicket", payment_request())
    print(f"  signed {len(paid['tickets'])} ticket(s) of {paid['tickets'][0]['faceValue']} wei")


def payment_request() -> dict[str, Any]:
    """The first payment of a session, to an orchestrator that does not exist."""
    params = {
        "recipient": "0x" + "11" * 20,
        "faceValue": str(10**15),
        "winProb": str(2**256 // 1000),
        "recipientRandHash": "0x" + "22" * 32,
        "seed": "0x01",
        "expirationBlock": "140",
    }
    info = {
        "transcoder": "https://127.0.0.1:8935",
        "address": "0x" + "11" * 20,
        "priceInfo": {"pricePerUnit": "1000000000", "pixelsPerUnit": "1"},
        "ticketParams": params,
        "authToken": {"token": "0x01", "sessionId": "smoke", "expiration": int(time.time()) + 1800},
    }
    return {"orchestratorInfo": info, "type": "live"}


def drain(port: int, process: subprocess.Popen[bytes]) -> None:
    """SIGTERM while a request is half sent: it must still be answered."""
    body = json.dumps(payment_request()).encode()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"POST /signTicket HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body[:100])
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        connection.sendall(body[100:])
        status = connection.recv(65536).split(b"\r\n", 1)[0]
    if b" 200 " not in status + b" ":
        raise SmokeTestError(f"a request in work when SIGTERM came was answered {status!r}")
    print("  answered the request that was in work when SIGTERM came")


def expect(url: str, body: dict[str, Any] | None) -> Any:
    """The JSON of a reply that must be 200."""
    status, answer = call(url, body)
    if status != 200:
        raise SmokeTestError(f"{url} answered {status}: {answer}")
    return answer


def run(root: Path) -> None:
    """Starts what was built as the image does, uses it, and stops it with SIGTERM."""
    folder = root / "run"
    folder.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = write_config(folder, port)
    command = [str(root / "opt/signer/bin/livepeer-remote-signer"), "serve", "--config", str(config)]
    subprocess.run([command[0], "--version"], check=True)  # noqa: S603 - what was just built
    data = folder / "data"
    process = subprocess.Popen(  # noqa: S603 - what was just built
        command,
        cwd=data,
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"},
        preexec_fn=lambda: become_container(data),
    )
    try:
        use(port, process)
        check_confined(process.pid)
        drain(port, process)
        if (status := process.wait(timeout=30)) != 0:
            raise SmokeTestError(f"status {status} after SIGTERM")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if not (data / "ledger.sqlite").exists():
        raise SmokeTestError("the ledger was not written to the data folder")


def check_confined(pid: int) -> None:
    """The process must be what the image promises: no root, no capabilities, nothing writable but its data."""
    status = Path(f"/proc/{pid}/status").read_text()
    if re.search(r"^CapEff:\s*0*$", status, re.M) is None:
        raise SmokeTestError("the signer holds capabilities")
    if os.geteuid() != 0:
        print("  not root here: the root file system was not mounted read-only")
        return
    if re.search(rf"^Uid:\s*{USER}\s", status, re.M) is None:
        raise SmokeTestError("the signer does not run as the image's user")
    root = next(line.split()[5] for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines() if line.split()[4] == "/")
    if "ro" not in root.split(","):
        raise SmokeTestError("the root file system is writable")
    print(f"  ran as user {USER} without capabilities on a read-only root")


def main() -> int:
    """0 when the image would work."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="build here, and leave it")
    arguments = parser.parse_args()
    root = arguments.keep or Path(tempfile.mkdtemp(prefix="signer-image-"))
    root.mkdir(parents=True, exist_ok=True)
    root.chmod(0o755)
    try:
        if not (root / "opt/signer").exists():
            print("build", flush=True)
            build(root)
        print("run", flush=True)
        run(root)
    except SmokeTestError as error:
        fail(str(error))
    finally:
        if arguments.keep is None:
            shutil.rmtree(root)
    print("smoke test passed")
    return 0


def fail(message: str) -> NoReturn:
    """Ends with status 1."""
    print(f"smoke test failed: {message}", file=sys.stderr)
    raise SystemExit(1)


if __name__ == "__main__":
    raise SystemExit(main())
