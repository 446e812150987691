"""A browser's pages and a signer on loopback that asks nobody: the named page pays, others do not, the signer's own does."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.browser import Page, open_browser
from tests.plans import orchestrator_info
from tests.served import served
from tests.signer import PAY

pytestmark = [pytest.mark.operate, pytest.mark.timeout(600)]


async def pays(page: Page, url: str, **options: Any) -> Any:
    """What the page's own script gets to see of a payment: the status, or that the browser refused it."""
    info = base64.b64encode(orchestrator_info(now_ns=time.time_ns())).decode()
    body = json.dumps({"orchestrator": info, "ManifestID": "m", "type": "live"})
    told = json.dumps({"method": "POST", "body": body, **options})
    return await page.run(f"fetch({json.dumps(url)}, {told}).then(async r => r.type + r.status + await r.text()).catch(e => String(e))")


async def test_pages_in_chromium(tmp_path: Path) -> None:
    async def page_of_somebody(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 14\r\nConnection: close\r\n\r\n<p>a page</p>  ")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(page_of_somebody, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    named, other = f"http://page.localhost:{port}", f"http://other.localhost:{port}"
    with served(tmp_path, cors={"allow_origins": [named]}, docs={"enabled": True}) as signer:
        url = f"http://localhost:{signer.port}{PAY}"
        async with server, open_browser(tmp_path / "profile") as page:
            await page.open(named)
            assert (await pays(page, url)).startswith('cors200{"payment"')
            assert (await pays(page, url, headers={"content-type": "application/json"})).startswith('cors200{"payment"')

            await asyncio.to_thread(signer.wait_for_log, "INFO    payment", 2)  # lines are written after the reply
            await page.open(other)
            assert "Failed to fetch" in await pays(page, url)
            assert "Failed to fetch" in await pays(page, url, headers={"content-type": "application/json"})
            assert await pays(page, url, mode="no-cors", headers={"content-type": "text/plain"}) == "opaque0"
            await asyncio.to_thread(signer.wait_for_log, "origin_refused", 2)
            assert signer.log.count("INFO    payment") == 2

            await page.open(f"http://localhost:{signer.port}/docs")
            assert (await pays(page, PAY)).startswith('basic200{"payment"')
