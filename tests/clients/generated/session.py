"""A session, and an operator's afternoon, through the client that a public generator made of docs/openapi.json.

Run with the generator's interpreter and the generated package on its path. Prints what it saw as JSON.
"""

import json
import sys

from signer_api import AuthenticatedClient, Client
from signer_api.api.admin import get_admin_usage, get_prices, get_suspended, metrics, reset_price, resume, set_price, suspend
from signer_api.api.operation import healthz, readyz
from signer_api.api.signer import (
    discover_orchestrators,
    generate_live_payment,
    get_orchestrator_info,
    get_usage,
    sign_orchestrator_info,
    sign_ticket,
)
from signer_api.models import (
    GetOrchestratorInfoRequest,
    LivePaymentRequest,
    LivePaymentRequestTypeType0,
    OrchestratorInfo,
    PriceChangeRequest,
    PriceResetRequest,
    SignTicketRequest,
    SignTicketRequestType,
    SwitchRequest,
)

told = json.loads(sys.argv[1])
signer = AuthenticatedClient(base_url=told["signer"], token=told["key"])
admin = AuthenticatedClient(base_url=told["admin"], token=told["token"])
nobody = Client(base_url=told["signer"])
seen = {}

seen["health"] = healthz.sync_detailed(client=nobody).status_code.value
seen["ready"] = readyz.sync(client=nobody).ready
seen["stranger"] = sign_orchestrator_info.sync(client=nobody).error.code
seen["address"] = sign_orchestrator_info.sync(client=signer).address
seen["listed"] = [one.address for one in discover_orchestrators.sync(client=signer)]

asked = get_orchestrator_info.sync(client=signer, body=GetOrchestratorInfoRequest(orchestrator=told["orchestrator"]))
seen["typed"] = [type(asked.orchestrator_info).__name__, type(asked.orchestrator_info.ticket_params).__name__]
info = OrchestratorInfo.from_dict(asked.orchestrator_info.to_dict())

body = SignTicketRequest(orchestrator_info=info, type_=SignTicketRequestType.LIVE)
first = sign_ticket.sync(client=signer, body=body, idempotency_key="begin")
again = sign_ticket.sync(client=signer, body=body, idempotency_key="begin")
seen["same"] = first.payment == again.payment and len(first.tickets) > 0
later = sign_ticket.sync_detailed(
    client=signer, body=SignTicketRequest(orchestrator_info=info, type_=SignTicketRequestType.LIVE, signer_state=first.signer_state)
)
seen["later"] = later.status_code
seen["next"] = getattr(later.parsed, "error", first) and (
    later.parsed.error["nextPaymentInSeconds"] if later.status_code == 482 else first.next_payment_in_seconds
)

live = generate_live_payment.sync(
    client=signer, body=LivePaymentRequest(orchestrator=asked.orchestrator, manifest_id="m1", type_=LivePaymentRequestTypeType0.LIVE)
)
seen["live"] = [bool(live.payment), bool(live.state.sig)]
seen["spent"] = get_usage.sync(client=signer).total.payments

seen["kept_in"] = get_prices.sync(client=admin).kept_in.value
seen["set"] = [one.price_per_unit for one in set_price.sync(client=admin, body=PriceChangeRequest(price_per_unit="0.5eth")).ceilings]
reset_price.sync(client=admin, body=PriceResetRequest())
seen["suspended"] = suspend.sync(client=admin, body=SwitchRequest(auth_id="mallory")).auth_ids
resume.sync(client=admin, body=SwitchRequest(auth_id="mallory"))
seen["left"] = get_suspended.sync(client=admin).auth_ids
seen["rows"] = [[row.auth_id, row.payments] for row in get_admin_usage.sync(client=admin, group="auth_id").rows]
seen["metrics"] = "livepeer_signer_requests_total" in metrics.sync_detailed(client=admin).content.decode()
print(json.dumps(seen))
