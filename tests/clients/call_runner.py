"""What a program on Livepeer's Python SDK does, run by that SDK's own interpreter: `call_runner.py JSON`. Prints JSON.

It finds a runner through the signer, by app and GPU, and calls it: the SDK pays the challenge and goes on paying while
the work runs. Then it has an orchestrator of BYOC jobs do one.
"""

import asyncio
import json
import logging
import sys

from livepeer_gateway import ByocJobRequest, runner_selector, submit_byoc_job

logging.basicConfig(stream=sys.stderr, level=logging.INFO)
told = json.loads(sys.argv[1])
signer = {"signer_url": told["signer"], "signer_headers": told["headers"] or None}


async def work() -> dict:
    cursor = await runner_selector(body={"text": "hello"}, app="me/app", gpu="H100", timeout=60, **signer)
    result = await cursor.next()
    return result.data


done = asyncio.run(work())
request = ByocJobRequest(capability="upscaler", payload={"image": "x"}, timeout_seconds=30)
job = submit_byoc_job(request, orch_url=told["byoc"], **signer).data
print(json.dumps({"work": done, "job": job}))
