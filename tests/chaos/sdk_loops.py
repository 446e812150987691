"""The SDK's own payment loops, for as long as the standard input is open: `sdk_loops.py`, run by the SDK's interpreter.

Each line that comes in is a session, JSON: `name`, `signer`, and the challenge's `payment_params`, `manifest_id` and
`payment_url`. Each line that goes out is a call of the signer (`took` seconds, `status`, or the error's name, and the state
after a 200), or says that a loop has ended.
"""

import asyncio
import json
import sys
import time

from livepeer_gateway.remote_signer import LivePaymentChallenge, LivePaymentSession


def say(**what):
    print(json.dumps(what), flush=True)


class Told(LivePaymentSession):
    """The SDK's session; tells of each call of the signer."""

    name = ""

    async def _payment_request(self):
        started = time.monotonic()
        try:
            payment = await super()._payment_request()
        except Exception as error:
            status = getattr(error, "status_code", None)
            say(name=self.name, took=time.monotonic() - started, status=status, error=f"{type(error).__name__}: {error}"[:500])
            raise
        say(name=self.name, took=time.monotonic() - started, status=200, state=self._state)
        return payment


async def keep_paying(told):
    challenge = LivePaymentChallenge(
        payment_params=told["payment_params"], manifest_id=told["manifest_id"], payment_url=told["payment_url"]
    )
    session = Told(told["signer"], type="live", challenge=challenge)
    session.name = told["name"]
    await session.send_payment()
    await session.run_payments()
    say(name=session.name, ended=True)


async def main():
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    loops = []
    async for line in reader:
        loops.append(asyncio.create_task(keep_paying(json.loads(line))))
    for loop in loops:
        loop.cancel()
    await asyncio.gather(*loops, return_exceptions=True)


asyncio.run(main())
