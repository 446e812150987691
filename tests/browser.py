"""A headless Chromium driven over the DevTools protocol: enough to open a page, run a script in it and take its picture."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
)
START_SECONDS = 60


def find_chromium() -> str:
    """Its path; skips where there is none, and fails where all parts are demanded."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        if os.environ.get("LRS_REQUIRE_ALL") == "1":
            pytest.fail("Chromium is not installed")
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium)")
    return found


class Page:
    """One tab."""

    def __init__(self, connection: ClientConnection, session: str) -> None:
        self._connection = connection
        self._session = session
        self._count = 0
        self.console: list[str] = []
        """What the page complained about: errors, warnings, refused loads."""

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The result of one DevTools method."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters, "sessionId": self._session}
        await self._connection.send(json.dumps(message))
        while True:
            reply = json.loads(await asyncio.wait_for(self._connection.recv(), START_SECONDS))
            self._note(reply)
            if reply.get("id") == self._count and reply.get("sessionId") == self._session:
                assert "error" not in reply, f"{method}: {reply['error']}"
                result: dict[str, Any] = reply["result"]
                return result

    async def open(self, url: str) -> None:
        """Goes to a page and waits until it is loaded."""
        await self.call("Page.navigate", url=url)
        await self.until("document.readyState === 'complete'")

    async def run(self, script: str) -> Any:
        """The value of a JavaScript expression, awaited where it is a promise."""
        reply = await self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in reply, reply["exceptionDetails"]
        return reply["result"].get("value")

    async def until(self, script: str, seconds: float = 60) -> None:
        """Waits until an expression is true; on a page that is still loading it is not."""
        async with asyncio.timeout(seconds):
            while not await self.run(f"(() => {{ try {{ return Boolean({script}) }} catch {{ return false }} }})()"):  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async def show_as(self, width: int, height: int, *, dark: bool = False, is_phone: bool = False) -> None:
        """The size of the window, and light or dark."""
        await self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=is_phone)
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        await self.call("Emulation.setEmulatedMedia", features=features)

    async def take_picture(self, path: Path) -> None:
        """The whole page as a PNG."""
        picture = await self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b64decode(picture["data"]))  # noqa: ASYNC240 - nothing else runs meanwhile

    def _note(self, message: dict[str, Any]) -> None:
        method, parameters = message.get("method"), message.get("params", {})
        if method == "Log.entryAdded":
            self.console.append(parameters["entry"]["text"])
        elif method == "Runtime.exceptionThrown":
            self.console.append(json.dumps(parameters["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning"):
            self.console.append(json.dumps(parameters["args"]))


@asynccontextmanager
async def open_browser(profile: Path) -> AsyncIterator[Page]:
    """A browser with a profile of its own, and one empty page in it."""
    command = [find_chromium(), *FLAGS, f"--user-data-dir={profile}", "about:blank"]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL, start_new_session=True
    )
    try:
        port_file = profile / "DevToolsActivePort"
        async with asyncio.timeout(START_SECONDS):
            while not port_file.exists() or len(lines := port_file.read_text().splitlines()) < 2:
                assert process.returncode is None, "Chromium ended at once"
                await asyncio.sleep(0.05)
        async with connect(f"ws://127.0.0.1:{lines[0]}{lines[1]}", max_size=None, proxy=None) as connection:
            yield await _attach(connection)
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGTERM)
        await asyncio.wait_for(process.wait(), START_SECONDS)


async def _attach(connection: ClientConnection) -> Page:
    async def ask(number: int, method: str, **parameters: Any) -> dict[str, Any]:
        await connection.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            reply: dict[str, Any] = json.loads(await asyncio.wait_for(connection.recv(), START_SECONDS))
            if reply.get("id") == number:
                return reply["result"]  # type: ignore[no-any-return]

    target = await ask(1_000_001, "Target.createTarget", url="about:blank")
    session = await ask(1_000_002, "Target.attachToTarget", targetId=target["targetId"], flatten=True)
    page = Page(connection, session["sessionId"])
    for domain in ("Page", "Runtime", "Log"):
        await page.call(f"{domain}.enable")
    return page
