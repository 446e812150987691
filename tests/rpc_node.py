"""A JSON-RPC endpoint on a real socket that counts what it is asked and fails as it is told."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any

Backend = Callable[[list[dict[str, Any]]], Awaitable[list[dict[str, Any]]]]


class RpcNode:
    """Serves `backend` until told otherwise by its fault attributes."""

    def __init__(self, backend: Backend, *, path: str = "/") -> None:
        self._backend = backend
        self._path = path
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = asyncio.Event()
        self.batches: list[list[str]] = []
        """The methods of every HTTP request so far."""
        self.is_hanging = False
        self.hangs_alone = False
        """Hangs at calls that do not come in a batch."""
        self.status = 200
        self.raw: bytes | None = None
        self.cuts_answer = False
        self.alter: Callable[[list[dict[str, Any]], list[dict[str, Any]]], Any] | None = None
        """Changes the answers: called with requests and answers, returns what is sent as JSON."""
        self.alter_batch: Callable[[list[dict[str, Any]], list[dict[str, Any]]], Any] | None = None
        """The same for batches only."""
        self.batch_limit: int | None = None
        """Longer batches get HTTP status 413."""
        self.heads: list[str] = []
        """Request line and headers of every HTTP request so far, in lower case."""
        self.bodies: list[bytes] = []
        self.retry_after = ""
        self.encoding: str | None = None
        """The content-encoding that answers claim."""

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}{self._path}"

    def heal(self) -> None:
        """Ends every fault."""
        self.is_hanging, self.status, self.raw, self.cuts_answer = False, 200, None, False
        self.alter, self.alter_batch, self.batch_limit, self.encoding = None, None, None, None
        self.hangs_alone, self.retry_after = False, ""

    async def __aenter__(self) -> RpcNode:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        assert self._server is not None
        self._server.close()
        self._closing.set()
        for writer in self._open:
            writer.close()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            while await self._serve_one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            self._open.discard(writer)
            writer.close()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = next(int(line.split(":")[1]) for line in head.split("\r\n") if line.startswith("content-length:"))
        sent = await reader.readexactly(length)
        self.heads.append(head)
        self.bodies.append(sent)
        document = json.loads(sent)
        is_batch = isinstance(document, list)
        requests = document if is_batch else [document]
        self.batches.append([r["method"] for r in requests])
        if self.is_hanging or (self.hangs_alone and not is_batch):
            await self._until_healed()
        is_too_long = self.raw is None and is_batch and self.batch_limit is not None and len(requests) > self.batch_limit
        if self.raw is not None:
            body = self.raw
        elif is_too_long:
            body = b"{}"
        else:
            answers: Any = await self._backend(requests)
            for alter in (self.alter, self.alter_batch if is_batch else None):
                answers = alter(requests, answers) if alter else answers
            body = json.dumps(answers if is_batch or not isinstance(answers, list) or not answers else answers[0]).encode()
        status = 413 if is_too_long else self.status  # the backend may have set it for its own answer
        lines = [f"HTTP/1.1 {status} X", "content-type: application/json", f"content-length: {len(body)}"]
        lines += [f"content-encoding: {self.encoding}"] if self.encoding else []
        lines += [f"retry-after: {self.retry_after}"] if self.retry_after else []
        lines += ["", ""]
        writer.write("\r\n".join(lines).encode() + (body[: len(body) // 2] if self.cuts_answer else body))
        await writer.drain()
        return not self.cuts_answer

    async def _until_healed(self) -> None:
        while (self.is_hanging or self.hangs_alone) and not self._closing.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), 0.02)


def answer_of(requests: list[dict[str, Any]], answers: list[dict[str, Any]], method: str) -> dict[str, Any]:
    """The answer to the first request of `method`."""
    request = next(r for r in requests if r["method"] == method)
    return next(a for a in answers if a["id"] == request["id"])
