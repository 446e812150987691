"""`python -m livepeer_remote_signer.adapters.discovery.worker`: the process that asks orchestrators.

A job comes as one line on standard input, answers leave as lines on standard output. It is a process of its own so that
what strangers send is unpacked where there is no key, and so that handshakes and parsing never delay a payment.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable

import uvloop

from livepeer_remote_signer.adapters.discovery.asking import ask_all
from livepeer_remote_signer.adapters.discovery.messages import Job, encode_said, parse_job
from livepeer_remote_signer.adapters.orchestrators import resolve_name
from livepeer_remote_signer.adapters.orchestrators.dialing import Resolver

NICENESS = 10


async def answer_job(job: Job, write: Callable[[bytes], None], resolve: Resolver = resolve_name) -> None:
    """Writes a line for everything that comes back."""
    async for said in ask_all(job, resolve):
        write(encode_said(said))


def main(resolve: Resolver = resolve_name) -> int:
    """One job, to the end."""
    with contextlib.suppress(OSError):
        os.nice(NICENESS)

    def write(line: bytes) -> None:
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()

    try:
        uvloop.run(answer_job(parse_job(sys.stdin.buffer.readline()), write, resolve))
    except (BrokenPipeError, KeyboardInterrupt):
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
