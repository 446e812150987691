"""A Docker engine: the one that runs here, else one of our own in namespaces of its own, with images made of Debian's packages.

Of our own there are two in turn over one folder of images: the one that builds has this host's network, for the package
index; the one that runs containers has a network of its own, so that its bridges and packet filters are nobody else's.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "build" / "image"
IMAGE = "livepeer-remote-signer:local"
POSTGRES_IMAGE = "postgres:17.6-alpine"
BASE = "livepeer-remote-signer-base:debian"
SUITE = "bookworm"
COMPOSE_MODULE = "github.com/docker/compose/v2@v2.40.0"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")

POSTGRES_FILE = f"""
FROM {BASE}
RUN apt-get update -q && apt-get install -q -y --no-install-recommends postgresql >/dev/null \\
 && ln -s /usr/lib/postgresql/*/bin/* /usr/local/bin/ \\
 && echo 'postgres:x:70:70::/var/lib/postgresql:/bin/sh' >>/etc/passwd && sed -i '/^postgres:x:1/d' /etc/passwd \\
 && install -d -o 70 -g 70 -m 0700 /var/lib/postgresql/data && install -d -m 1777 /var/run/postgresql
COPY start /start
ENTRYPOINT ["sh", "/start"]
"""
POSTGRES_START = """
set -eu
export PGDATA=/var/lib/postgresql/data/pgdata
if [ ! -s $PGDATA/PG_VERSION ]; then
  initdb --username=$POSTGRES_USER --pwfile=$POSTGRES_PASSWORD_FILE --auth=scram-sha-256 >/dev/null
  echo 'host all all all scram-sha-256' >>$PGDATA/pg_hba.conf
  echo "CREATE DATABASE $POSTGRES_DB" | postgres --single -j postgres >/dev/null 2>&1 || true
fi
exec postgres -c listen_addresses='*' -c unix_socket_directories=/var/run/postgresql
"""
"""What the stand-in for PostgreSQL's own image does of that image's work."""


class NoEngine(Exception):
    """There can be none here; the message says what is missing."""


class Engine:
    """What answers at a socket."""

    def __init__(self, host: str | None) -> None:
        """`host` None: the one that the client finds by itself."""
        self.environ = {**os.environ, "DOCKER_BUILDKIT": "0", **({"DOCKER_HOST": host} if host else {})}

    def docker(self, *words: str, given: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        """A client's command; with `check` it must succeed."""
        done = subprocess.run(["docker", *words], env=self.environ, input=given, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, f"docker {' '.join(words)}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done

    def is_there(self) -> bool:
        return self.docker("info", check=False).returncode == 0

    def has(self, image: str) -> bool:
        return self.docker("image", "inspect", image, check=False).returncode == 0


@contextmanager
def running_engine() -> Iterator[Engine]:
    """With the signer's image in it, and one for PostgreSQL. Raises NoEngine."""
    found = Engine(None)
    if shutil.which("docker") is not None and found.is_there():
        found.docker("build", "-t", IMAGE, str(ROOT))
        yield found
        return
    missing = [name for name in ("docker", "dockerd", "unshare", "debootstrap", "ip") if shutil.which(name) is None]
    if missing or os.geteuid() != 0:
        raise NoEngine(f"no Docker engine answers, and one of our own needs root and Debian's {', '.join(missing) or 'packages'}")
    KEPT.mkdir(parents=True, exist_ok=True)
    with _own_engine("--bridge=none", "--iptables=false") as builder:
        _build_images(builder)
    with _own_engine(net=True) as engine:
        yield engine


def _build_images(engine: Engine) -> None:
    """Layers that were built before are taken again."""
    if not engine.has(BASE):
        engine.docker("import", *_base_changes(), str(_base_archive()), BASE)
    engine.docker("build", "--network=host", "--build-arg", f"PYTHON_IMAGE={BASE}", "-t", IMAGE, str(ROOT))
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "Dockerfile").write_text(POSTGRES_FILE)
        (Path(folder) / "start").write_text(POSTGRES_START)
        engine.docker("build", "--network=host", "-t", POSTGRES_IMAGE, folder)


def _base_changes() -> list[str]:
    paths = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return ["--change", f"ENV PATH={paths} PIP_CERT={CERTIFICATES} DEBIAN_FRONTEND=noninteractive"]


def _base_archive() -> Path:
    """Debian with Python, in place of the official image of Python, which is Debian with Python too."""
    archive = KEPT / f"{SUITE}.tar"
    if not archive.exists():
        with tempfile.TemporaryDirectory(dir=KEPT) as folder:
            made = Path(folder) / "root"
            packages = "--include=python3,python3-venv,ca-certificates"
            subprocess.run(["debootstrap", "--variant=minbase", packages, SUITE, str(made)], check=True, capture_output=True)
            (made / "usr" / "bin" / "python").symlink_to("python3")
            shutil.copy(CERTIFICATES, made / CERTIFICATES.relative_to("/"))
            subprocess.run(["tar", "-C", str(made), "--exclude=./dev", "-cf", f"{archive}.new", "."], check=True)
        Path(f"{archive}.new").replace(archive)
    return archive


@contextmanager
def _own_engine(*options: str, net: bool = False) -> Iterator[Engine]:
    """With the processes of its containers it ends when its namespace does."""
    folder = Path(tempfile.mkdtemp(prefix="lrs-engine-"))
    host = f"unix://{folder}/docker.sock"
    places = ["--data-root", str(KEPT / "engine"), "--exec-root", str(folder / "exec"), "--pidfile", str(folder / "pid"), "-H", host]
    command = " ".join(["exec", "dockerd", *places, *options])
    spaces = ["--mount", "--pid", "--fork", "--mount-proc", "--kill-child", *(["--net"] if net else [])]
    script = f"mount -t tmpfs tmpfs /run && ip link set lo up && {command}"
    with (KEPT / "dockerd.log").open("ab") as log:
        process = subprocess.Popen(["unshare", *spaces, "sh", "-c", script], stdout=log, stderr=log, start_new_session=True)
    engine = Engine(host)
    try:
        give_up = time.monotonic() + 60
        while not engine.is_there():
            if process.poll() is not None or time.monotonic() > give_up:
                raise NoEngine(f"dockerd does not start: {KEPT / 'dockerd.log'} says why")
            time.sleep(0.1)
        yield engine
    finally:
        for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
            os.kill(int(child), signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def compose_program(engine: Engine) -> list[str]:
    """`docker compose` where the client has it, else built from its Go module, once. Raises NoEngine."""
    if engine.docker("compose", "version", check=False).returncode == 0:
        return ["docker", "compose"]
    built = KEPT / "docker-compose"
    if not built.exists():
        if shutil.which("go") is None:
            raise NoEngine("docker compose is not installed, and Go, to build it, is not either")
        environ: dict[str, Any] = {**os.environ, "GOFLAGS": "-mod=mod", "CGO_ENABLED": "0"}
        shown = ["go", "mod", "download", "-json", COMPOSE_MODULE]
        source = subprocess.run(shown, env=environ, capture_output=True, text=True, check=True).stdout
        with tempfile.TemporaryDirectory(dir=KEPT) as folder:
            module = source.split('"Dir": "')[1].partition('"')[0]
            shutil.copytree(module, f"{folder}/compose", copy_function=shutil.copyfile)
            for path in (Path(folder) / "compose", *(Path(folder) / "compose").rglob("*")):
                path.chmod(0o755 if path.is_dir() else 0o644)
            command = ["go", "build", "-trimpath", "-o", f"{built}.new", "./cmd"]
            subprocess.run(command, env=environ, cwd=f"{folder}/compose", check=True, capture_output=True)
        Path(f"{built}.new").replace(built)
    return [str(built)]
