"""A gateway on Livepeer's Python SDK, run by that SDK's own interpreter: `client.py SIGNER_URL ORCHESTRATOR_URL`. Prints JSON.

It finds the orchestrator through the signer, asks it for its terms, pays every second, and lets the SDK refresh the
session when the signer says 480 and skip a cycle when it says 482.
"""

import asyncio
import json
import sys
import time

from livepeer_gateway.discovery import discover_orchestrators, discover_runners
from livepeer_gateway.orch_info import get_orch_info
from livepeer_gateway.remote_signer import PaymentSession, SkipPaymentCycle

signer, orchestrator = sys.argv[1:]
found = discover_orchestrators(signer_url=signer)
runners = asyncio.run(discover_runners(signer_url=signer, app=["me/app", "other/app"]))
info = get_orch_info(orchestrator, signer_url=signer)
session = PaymentSession(signer, info, type="live")
session.set_manifest_id(info.auth_token.session_id)
paid, skipped, tokens = 0, 0, {info.auth_token.session_id}
for _ in range(8):
    try:
        session.send_payment()
        paid += 1
    except SkipPaymentCycle:
        skipped += 1
    tokens.add(session._info.auth_token.session_id)
    time.sleep(0.7)
print(json.dumps({"found": found, "runners": len(runners), "paid": paid, "skipped": skipped, "refreshes": len(tokens) - 1}))
