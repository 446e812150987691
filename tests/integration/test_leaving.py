"""Nothing is signed for a caller whose connection was reset; one that only closed its sending side is answered."""

from __future__ import annotations

import signal
import socket
import struct
import time
from pathlib import Path

import pytest

from tests.served import Served, live_body, patient_hook, post, read_answer, served


def reset(connection: socket.socket) -> None:
    """Closes with RST, as a client does that gives up with bytes unread."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def signatures(signer: Served) -> float:
    lines = signer.get("/metrics").body.decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("livepeer_signer_signatures_total"))


def until_refused(signer: Served, times: int) -> None:
    give_up = time.monotonic() + 60
    while signer.log.count("caller_left") < times:
        assert time.monotonic() < give_up, signer.log
        time.sleep(0.05)


def test_a_request_in_the_socket_of_a_client_that_has_reset_it_is_not_signed(tmp_path: Path) -> None:
    with served(tmp_path) as signer:
        before = signatures(signer)
        gone = [signer.connect() for _ in range(5)]
        with signer.connect() as half, half.makefile("rb") as stream:
            signer.process.send_signal(signal.SIGSTOP)
            try:
                for connection in gone:
                    connection.sendall(post(live_body()))
                    reset(connection)
                half.sendall(post(live_body()))
                half.shutdown(socket.SHUT_WR)
            finally:
                signer.process.send_signal(signal.SIGCONT)
            answer = read_answer(stream)
        assert answer is not None
        assert answer.status == 200
        made = signatures(signer) - before
        assert signer.pay().status == 200
        assert made == signatures(signer) - before - made, "one payment's signatures, no more"


@pytest.mark.parametrize("ledger", [False, True])
def test_who_leaves_while_the_webhook_thinks_is_not_signed_for(tmp_path: Path, ledger: bool) -> None:
    sections = {"ledger": {"backend": "sqlite", "path": str(tmp_path / "ledger.db")}} if ledger else {}
    with patient_hook() as hook, served(tmp_path, auth={"webhook": {"url": hook.url}}, **sections) as signer:
        before = signatures(signer)
        gone = signer.connect()
        gone.sendall(post(live_body(), headers="X-Hold: 1\r\n"))
        hook.wait_for_questions(1)
        reset(gone)
        assert signatures(signer) == before  # answered after the reset was seen
        hook.released.set()
        until_refused(signer, 1)
        assert signatures(signer) == before
        assert signer.exchange(post(live_body())).status == 200
