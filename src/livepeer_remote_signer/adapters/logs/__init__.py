"""Structured logs: one line a payment, built in batches away from the paying path, and everything else in the same form.

`lines` renders, `writer` writes, `payments` collects outcomes, `redaction` keeps secrets out of all of it.
"""

from livepeer_remote_signer.adapters.logs.payments import PaymentLog
from livepeer_remote_signer.adapters.logs.redaction import Redaction, parts_of_url
from livepeer_remote_signer.adapters.logs.writer import LogWriter, route_standard_logging

__all__ = ["LogWriter", "PaymentLog", "Redaction", "parts_of_url", "route_standard_logging"]
