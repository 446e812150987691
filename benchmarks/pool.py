"""The orchestrators of the measurements: each on a port with TLS, gRPC and HTTP, as discovery asks them.

    python -m benchmarks.pool ORCHESTRATORS RUNNERS

Prints one JSON line with their URLs, then for each line on standard input how often they were asked; ends with the input.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

import uvloop

from livepeer_remote_signer.simulate.clock import Clock
from livepeer_remote_signer.simulate.orchestrator import Offer, Orchestrator
from livepeer_remote_signer.simulate.recipient import Chain
from livepeer_remote_signer.simulate.serving import Network

PRICE = 1000
MODELS = 10
GPUS = ("NVIDIA GeForce RTX 4090", "NVIDIA L40S", "NVIDIA H100 80GB HBM3")


def runner(orchestrator: int, number: int) -> dict[str, Any]:
    """A runner with what such lists say of one."""
    return {
        "url": f"https://runner-{number}.orchestrator-{orchestrator}.example:8935/",
        "app": f"live-video-to-video/model-{number % MODELS}",
        "capacity": 4,
        "capacity_used": number % 4,
        "gpu": {"id": f"GPU-{orchestrator:08x}-{number:04x}", "name": GPUS[number % len(GPUS)]},
        "version": "0.9.1",
        "price_info": {"price": PRICE + number, "currency": "wei", "unit": "seconds"},
    }


async def main(orchestrators: int, runners: int) -> None:
    """Serves them until the input ends."""
    os.nice(19)  # in life they are on other machines
    async with Network() as network:
        urls = []
        for index in range(orchestrators):
            node = Orchestrator(Clock(), Chain(), Offer(PRICE), runners=[runner(index, number) for number in range(runners)])
            await network.host_orchestrator(node)
            urls.append(node.url)
        print(json.dumps(urls), flush=True)
        orders = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
        while await orders.readline():
            print(network.calls, flush=True)


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2])))
