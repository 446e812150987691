"""The asking process with names of its own: one that turns inward between its first and its second look-up."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence

from livepeer_remote_signer.adapters.discovery import worker
from tests.discovery.names import REBINDING_NAME

LOOK_UPS: Counter[str] = Counter()


async def resolve(host: str, port: int) -> Sequence[str]:
    LOOK_UPS[host] += 1
    if host == REBINDING_NAME:
        return ["127.0.0.1"] if LOOK_UPS[host] == 1 else ["127.0.0.2"]
    raise OSError("no such name")


if __name__ == "__main__":
    sys.exit(worker.main(resolve))
