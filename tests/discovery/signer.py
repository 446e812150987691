"""The signer in a process of its own, with discovery that refreshes when it is told, and a clock that can be moved.

`python -m tests.discovery.signer CONFIG` prints its port, then obeys lines on standard input: `refresh` (prints how many
seconds it took), `advance SECONDS`.
"""

from __future__ import annotations

import asyncio
import functools
import sys
import threading
import time
from pathlib import Path
from typing import Any

from livepeer_remote_signer.adapters import discovery
from livepeer_remote_signer.app import create_app
from livepeer_remote_signer.config.loading import parse_config
from livepeer_remote_signer.process.listening import bind
from livepeer_remote_signer.process.server import make_server

ASKING = (sys.executable, "-m", "tests.discovery.asking")


class ToldDiscovery(discovery.Discovery):
    """Refreshes when told, and never by itself."""

    told: ToldDiscovery
    loop: asyncio.AbstractEventLoop

    async def start(self) -> None:
        type(self).told = self
        type(self).loop = asyncio.get_running_loop()

    async def timed_refresh(self) -> None:
        started = time.monotonic()
        await self.refresh()
        print(time.monotonic() - started, flush=True)


def main() -> None:
    offset_ns = 0
    discovery.AskingCrew = functools.partial(discovery.AskingCrew, ASKING)  # type: ignore[misc, assignment]
    discovery.Discovery = ToldDiscovery  # type: ignore[misc]
    app = create_app(parse_config(Path(sys.argv[1]).read_text(), {}), clock_ns=lambda: time.time_ns() + offset_ns)
    listener = bind("127.0.0.1", 0)
    server = make_server(app, 1)

    def obey() -> None:
        nonlocal offset_ns
        for line in sys.stdin:
            words = line.split()
            if words[0] == "refresh":
                work: Any = ToldDiscovery.told.timed_refresh()
                asyncio.run_coroutine_threadsafe(work, ToldDiscovery.loop).result()
            elif words[0] == "advance":
                offset_ns += int(words[1]) * 10**9
                print("advanced", flush=True)

    threading.Thread(target=obey, daemon=True).start()
    print(listener.getsockname()[1], flush=True)
    server.run(sockets=[listener])


if __name__ == "__main__":
    main()
