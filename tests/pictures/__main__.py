"""Makes the pictures: the console in Chromium with an hour of payments behind it, and two drawings. `make pictures`."""

from __future__ import annotations

import asyncio
import json
import struct
import subprocess
import tempfile
import zlib
from pathlib import Path

from tests.browser import open_browser
from tests.integration.test_console_page import TOKEN, Clock, log_in, pay_for_an_hour, sections
from tests.pictures.drawing import FOLDER, ROOT, draw_against_go, draw_signer, sources
from tests.signer import running_signer


def with_text(png: bytes, key: str, text: str) -> bytes:
    """The picture with a word in it that viewers of its properties show."""
    body = b"tEXt" + key.encode() + b"\0" + text.encode()
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return png[:33] + chunk + png[33:]  # behind the head


async def picture_console(file: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, clock = Path(name), Clock()
        async with running_signer(clock_ns=clock, **sections(folder)) as signer, open_browser(folder / "profile") as page:
            assert signer.admin is not None
            await pay_for_an_hour(signer, clock)
            await page.show_as(1280, 900)
            await log_in(page, str(signer.admin.base_url).rstrip("/"), TOKEN)
            await page.until("document.querySelectorAll('#chart rect').length > 60")
            await page.until("document.querySelector('#fan svg')")  # worked out in turn
            await page.take_picture(file)


def main() -> None:
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    console = FOLDER / "console.png"
    asyncio.run(picture_console(console))
    console.write_bytes(with_text(console.read_bytes(), "Comment", f"made at {commit}"))
    (FOLDER / "against-go.svg").write_text(draw_against_go(commit))
    (FOLDER / "signer.svg").write_text(draw_signer(commit))
    (FOLDER / "made.json").write_text(json.dumps({"commit": commit, "sources": sources()}, indent=2) + "\n")


main()
