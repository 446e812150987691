"""Hosts with one kind of addresses only: in network namespaces of their own."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest
import yaml

from tests.environments.conftest import need_program
from tests.served import Served, served
from tests.signer import configuration

OPEN = {"allow_unauthenticated": True}


@pytest.fixture
def namespace(root: None, tmp_path: Path) -> Iterator[Callable[[str], tuple[str, Path]]]:
    """Makes a namespace whose one link has this address, and what starts Python in it."""
    ip = need_program("ip")
    with ExitStack() as made:

        def make(address: str) -> tuple[str, Path]:
            name, link = f"lrs-{uuid4().hex[:8]}", uuid4().hex[:8]
            subprocess.run([ip, "netns", "add", name], check=True)
            made.callback(subprocess.run, [ip, "netns", "delete", name], check=True)
            inside = [ip, "-netns", name]
            subprocess.run([*inside, "link", "set", "lo", "up"], check=True)
            subprocess.run([*inside, "link", "add", link, "type", "veth", "peer", "name", f"{link}p"], check=True)
            for end in (link, f"{link}p"):
                subprocess.run([*inside, "link", "set", end, "up"], check=True)
            if "." in address:
                subprocess.run([ip, "netns", "exec", name, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1"], check=True)
            kind = "-4" if "." in address else "-6"
            subprocess.run([*inside, kind, "addr", "add", address, "dev", link, *(["nodad"] if kind == "-6" else [])], check=True)
            subprocess.run([*inside, kind, "route", "add", "default", "dev", link], check=True)
            launcher = tmp_path / f"python-{name}"
            launcher.write_text(f'#!/bin/sh\nexec {ip} netns exec {name} {sys.executable} "$@"\n')
            launcher.chmod(0o755)
            return name, launcher

        yield make


def is_healthy(signer: Served, launcher: Path) -> bool:
    """What the image's own health check says."""
    command = [str(launcher), "-m", "livepeer_remote_signer", "healthcheck", "--config", str(signer.config)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def wait_until_healthy(signer: Served, launcher: Path) -> None:
    give_up = time.monotonic() + 60
    while not is_healthy(signer, launcher):
        assert signer.process.poll() is None, signer.log
        assert time.monotonic() < give_up, signer.log


@pytest.mark.parametrize("address", ["192.0.2.7/24", "2001:db8::7/64"])
def test_both_kinds_of_hosts_are_served_on_all_addresses(
    tmp_path: Path, namespace: Callable[[str], tuple[str, Path]], address: str
) -> None:
    name, launcher = namespace(address)
    with served(tmp_path, python=launcher, wait=False, listen="[::]:8936", auth=OPEN) as signer:
        wait_until_healthy(signer, launcher)
        host = address.partition("/")[0]
        url = f"http://{f'[{host}]' if ':' in host else host}:8936/healthz"
        asked = subprocess.run(["ip", "netns", "exec", name, "curl", "-sS", "--max-time", "10", url], capture_output=True, check=True)
        assert b'"status"' in asked.stdout
        assert "beyond its loopback" not in signer.log


def test_ipv4_alone_on_a_host_without_it_is_told(tmp_path: Path, namespace: Callable[[str], tuple[str, Path]]) -> None:
    _, launcher = namespace("2001:db8::7/64")
    with served(tmp_path, python=launcher, wait=False, listen="0.0.0.0:8936", auth=OPEN) as signer:
        wait_until_healthy(signer, launcher)
        signer.wait_for_log("this host has no IPv4 beyond its loopback: `listen` [::]:8936 serves both kinds")


WITHOUT_IPV6 = """
import socket, sys
made = socket.socket
class Refusing(made):
    def __init__(self, family=-1, *more, **named):
        if family == socket.AF_INET6:
            raise OSError(97, "Address family not supported by protocol")
        super().__init__(family, *more, **named)
socket.socket = Refusing
from livepeer_remote_signer.cli import main
sys.exit(main(["serve", "--config", sys.argv[1]]))
"""


def test_a_kernel_without_ipv6_is_told_what_would_do(tmp_path: Path) -> None:
    """As with ipv6.disable=1: the kernel knows no such sockets."""
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(configuration(listen="[::]:8936", auth=OPEN)))
    done = subprocess.run([sys.executable, "-c", WITHOUT_IPV6, config], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "cannot start: cannot listen on [::]:8936: Address family not supported by protocol" in done.stderr
    assert "`listen` 0.0.0.0:8936 would do" in done.stderr
