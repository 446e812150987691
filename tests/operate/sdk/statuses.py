"""The SDK's own payment loop against each answer of a signer: `statuses.py SIGNER_URL CASE...`. Prints JSON, by case.

Run by the SDK's interpreter. Each case pays once, so that there is a state, and is then refused until the loop has come back
three times or has ended for good.
"""

import asyncio
import json
import sys

from livepeer_gateway import remote_signer
from livepeer_gateway.remote_signer import LivePaymentChallenge, LivePaymentSession

remote_signer.PAYMENT_INTERVAL_S = 0.02
TURNS = 3


class Watched(LivePaymentSession):
    """The SDK's session; counts its turns and refreshes."""

    turns = 0
    refreshes = 0

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.came_back = asyncio.Event()

    async def send_payment(self):
        self.turns += 1
        if self.turns > TURNS:
            self.came_back.set()
        await super().send_payment()

    async def _refresh_payment_params(self):
        self.refreshes += 1
        await super()._refresh_payment_params()


async def outcome(signer, case):
    challenge = LivePaymentChallenge(payment_params="e30=", manifest_id="m1", payment_url=f"{signer}/payment")
    session = Watched(signer, signer_headers={"X-Case": case}, type="live", challenge=challenge)
    await session.get_payment()
    loop = asyncio.create_task(session.run_payments())
    waiting = asyncio.create_task(session.came_back.wait())
    await asyncio.wait({loop, waiting}, return_when=asyncio.FIRST_COMPLETED)
    seen = {"ends": loop.done(), "turns": session.turns, "refreshes": session.refreshes}
    loop.cancel()
    waiting.cancel()
    return seen


async def main():
    signer, *cases = sys.argv[1:]
    print(json.dumps({case: await outcome(signer, case) for case in cases}))


asyncio.run(main())
