"""One real Kafka node (KRaft, broker and controller in one), from Maven's jars and this machine's Java."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from pathlib import Path

from tests.ports import free_port

ROOT = Path(__file__).parents[3]
POM = Path(__file__).with_name("pom.xml")
JARS = ROOT / ".cache" / "kafka"
CLUSTER_ID = "Zm9yLXRlc3RzLW9ubHktMQ"
START_SECONDS = 120


def missing_tool() -> str | None:
    """What this machine lacks to run Kafka."""
    return next((tool for tool in ("java", "mvn") if shutil.which(tool) is None), None)


def fetch_jars() -> None:
    """Resolves Kafka's jars into the cache, unless they are there as the pom names them."""
    stamp = JARS / "pom.xml"
    if stamp.exists() and stamp.read_bytes() == POM.read_bytes():
        return
    shutil.rmtree(JARS, ignore_errors=True)
    repository = ROOT / ".cache" / "m2"
    subprocess.run(
        [
            "mvn",
            "-q",
            "-B",
            "-f",
            str(POM),
            f"-Dmaven.repo.local={repository}",
            "-Daether.connector.http.retryHandler.count=8",
            "-Dmaven.wagon.http.retryHandler.count=8",
            "dependency:copy-dependencies",
            f"-DoutputDirectory={JARS}",
        ],
        check=True,
        timeout=600,
    )
    stamp.write_bytes(POM.read_bytes())


class KafkaNode:
    """A node that keeps its data in `folder` and can be stopped and started again on the same port."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        controller = free_port()
        self.behind_port, self.advertised_port = free_port(), free_port()
        """A second listener, whose clients are told the second port: whoever listens there stands between."""
        self._properties = folder / "server.properties"
        self._properties.write_text(
            "\n".join(
                (
                    "process.roles=broker,controller",
                    "node.id=1",
                    f"controller.quorum.voters=1@127.0.0.1:{controller}",
                    f"listeners=PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{controller},BEHIND://127.0.0.1:{self.behind_port}",
                    f"advertised.listeners=PLAINTEXT://127.0.0.1:{self.port},BEHIND://127.0.0.1:{self.advertised_port}",
                    "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,BEHIND:PLAINTEXT",
                    "inter.broker.listener.name=PLAINTEXT",
                    "controller.listener.names=CONTROLLER",
                    f"log.dirs={folder / 'data'}",
                    "num.partitions=4",
                    "offsets.topic.replication.factor=1",
                    "transaction.state.log.replication.factor=1",
                    "transaction.state.log.min.isr=1",
                    "group.initial.rebalance.delay.ms=0",
                    "auto.create.topics.enable=true",
                )
            )
        )
        self._run("kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(self._properties))

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Starts the node and waits until it takes connections."""
        with (self._folder / "kafka.log").open("ab") as log:
            self._process = subprocess.Popen(self._command("kafka.Kafka", str(self._properties)), stdout=log, stderr=log, cwd=self._folder)
        give_up = time.monotonic() + START_SECONDS
        while True:
            assert self._process.poll() is None, f"Kafka ended:\n{self.log[-4000:]}"
            assert time.monotonic() < give_up, f"Kafka did not start:\n{self.log[-4000:]}"
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.1)

    def stop(self, *, kill: bool = False) -> None:
        """Ends the node; its data stay."""
        process, self._process = self._process, None
        if process is None:
            return
        if kill:
            process.kill()
        else:
            process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    @property
    def log(self) -> str:
        return (self._folder / "kafka.log").read_text(errors="replace")

    def _command(self, main: str, *arguments: str) -> list[str]:
        options = ["-Xmx400m", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
        return ["java", *options, "-cp", f"{JARS}/*", main, *arguments]

    def _run(self, main: str, *arguments: str) -> None:
        done = subprocess.run(self._command(main, *arguments), capture_output=True, text=True, timeout=60, cwd=self._folder)
        assert done.returncode == 0, done.stdout + done.stderr
