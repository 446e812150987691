"""Runs the asking process for one job and reads its answers. It inherits no secret: neither key, nor configuration, nor
the environment's tokens."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

from livepeer_remote_signer.adapters.discovery.messages import MAX_LINE_BYTES, Answer, Job, Pool, encode_job, parse_line
from livepeer_remote_signer.core.errors import SignerError

WORKER = (sys.executable, "-P", "-m", "livepeer_remote_signer.adapters.discovery.worker")
_ENVIRONMENT = ("PATH", "PYTHONPATH", "LANG", "SSL_CERT_FILE", "SSL_CERT_DIR", "TMPDIR")
START_SECONDS = 15.0
LAST_WORDS_BYTES = 400


class WorkerFailed(Exception):
    """The asking process ended badly or took too long; what it answered before counts."""


class AskingCrew:
    """Starts a process for each job; `command` is what to start. `signature` makes what the sender shows to orchestrators,
    where a job does not have it yet."""

    def __init__(self, command: Sequence[str] = WORKER, signature: Callable[[], Awaitable[bytes]] | None = None) -> None:
        self._signature = signature
        self._command = tuple(command)

    async def ask(self, job: Job) -> AsyncGenerator[Answer | Pool, None]:
        """What comes back, as it comes. Raises WorkerFailed at the end when the process did not end well."""
        if self._signature is not None:
            try:
                job = job._replace(signature=await self._signature())
            except SignerError as error:
                raise WorkerFailed(error.message) from None
        process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
            limit=MAX_LINE_BYTES,
        )
        if process.stdin is None or process.stdout is None or process.stderr is None:
            raise WorkerFailed("the asking process has no pipes")
        complaints = asyncio.ensure_future(_last_words(process.stderr))
        try:
            process.stdin.write(encode_job(job))
            process.stdin.close()
            deadline = asyncio.get_running_loop().time() + START_SECONDS + _budget(job, len(job.urls))
            while line := await _read_line(process.stdout, deadline):
                said = parse_line(line)
                if isinstance(said, Pool) and said.urls is not None:
                    deadline = asyncio.get_running_loop().time() + START_SECONDS + _budget(job, len(said.urls))
                yield said
            if await process.wait() != 0:
                raise WorkerFailed(f"the asking process exited with {process.returncode}: {await complaints}")
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            complaints.cancel()
            await asyncio.gather(complaints, return_exceptions=True)


def _budget(job: Job, count: int) -> float:
    """How long a job may take: every orchestrator at its slowest, and the webhook."""
    rounds = -(-max(count, 1) * (1 + job.follow_nodes) // job.max_concurrency)
    return rounds * (max(job.timeout_seconds, 2.0) + job.timeout_seconds + 1.0) + 10.0


async def _read_line(reader: asyncio.StreamReader, deadline: float) -> bytes:
    try:
        async with asyncio.timeout_at(deadline):
            return await reader.readline()
    except TimeoutError:
        raise WorkerFailed("the asking process took too long") from None
    except ValueError:
        raise WorkerFailed("the asking process wrote a line that is too long") from None


async def _last_words(reader: asyncio.StreamReader) -> str:
    """The last line of what was complained about: the reason stands there, and what precedes it is a traceback with paths."""
    kept = b""
    while chunk := await reader.read(65536):
        kept = (kept + chunk)[-LAST_WORDS_BYTES:]
    return kept.decode("utf-8", "replace").strip().rpartition("\n")[2]
