"""Structured logs: one line a payment, built in batches away from the paying path, and everything else in the same form.

`lines` renders, `writer` writes, `payments` collects outcomes, `redaction` keeps secrets out of all of it.
"""

from livepeer_remote_signer.adapters.logs.payments import PaymentLog
from livepeer_remote_signer.adapters.logs.redaction import Redaction
from livepeer_remote_signer.adapters.logs.writer import LogWriter, route_standard_logging

__all__ = ["LogWriter", "PaymentLog", "Redaction", "route_standard_logging"]
