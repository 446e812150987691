"""OpenTelemetry traces: a span for each payment, and one inside it for each phase. Imported only when configured.

Spans are made when the payment is over, from times that were noted on the way, so that the paying path carries no context.
Attributes are the ids of the payment's log line; nothing secret is among them. Export runs in the SDK's own thread.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
from requests import Session

from livepeer_remote_signer.core.errors import SignerError
from livepeer_remote_signer.core.rules.payment import OpenedSession, PaymentPlan
from livepeer_remote_signer.core.rules.trail import Trail

SHUTDOWN_MS = 3000
MAX_TEXT_CHARACTERS = 256


class PaymentTraces:
    """Told of every outcome."""

    def __init__(
        self,
        endpoint: str,
        *,
        version: str,
        instance: str,
        status_of: Callable[[SignerError], int],
        session: Session | None = None,
        exporter: SpanExporter | None = None,
    ) -> None:
        resource = Resource.create({"service.name": "livepeer-remote-signer", "service.version": version, "service.instance.id": instance})
        self._status_of = status_of
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter(endpoint=traces_url(endpoint), session=session)))
        self._tracer = self._provider.get_tracer("livepeer_remote_signer", version)

    def paid(self, plan: PaymentPlan, trail: Trail) -> None:
        """A trace of a payment that was made."""
        self._trace(trail, 200, {"tickets": plan.num_tickets, "auth_id": plan.state.auth_id[:MAX_TEXT_CHARACTERS]})

    def repeated(self, trail: Trail) -> None:
        """A trace of a reply that was given again."""
        self._trace(trail, 200, {"code": "repeated"})

    def refused(self, error: SignerError, trail: Trail) -> None:
        """A trace of a refusal or failure."""
        self._trace(trail, self._status_of(error), {"code": error.code}, error)

    async def aclose(self) -> None:
        """Sends what waits, for at most a few seconds."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._provider.force_flush(SHUTDOWN_MS)
        self._provider.shutdown()

    def _trace(self, trail: Trail, status: int, attributes: dict[str, str | int], error: SignerError | None = None) -> None:
        ended = time.perf_counter()
        wall_ns = time.time_ns() - int(ended * 1e9)
        span = self._tracer.start_span(
            f"POST {trail.route}",
            kind=SpanKind.SERVER,
            start_time=wall_ns + int(trail.started * 1e9),
            attributes={
                "http.request.method": "POST",
                "http.route": trail.route,
                "http.response.status_code": status,
                "request_id": trail.request_id,
                **attributes,
                **(_session_attributes(trail.session) if trail.session is not None else {}),
            },
        )
        if status >= 500:
            span.set_status(Status(StatusCode.ERROR, error.code if error is not None else None))
        context = set_span_in_context(span)
        for phase, began, done in trail.marks:
            child = self._tracer.start_span(phase, context=context, start_time=wall_ns + int(began * 1e9))
            child.end(wall_ns + int(done * 1e9))
        span.end(wall_ns + int(ended * 1e9))


def traces_url(endpoint: str) -> str:
    """The URL that traces are posted to: `/v1/traces` of an endpoint without a path, else the endpoint itself."""
    scheme, _, rest = endpoint.partition("://")
    host, slash, path = rest.partition("/")
    return endpoint if slash and path else f"{scheme}://{host}/v1/traces"


def _session_attributes(session: OpenedSession) -> dict[str, str | int]:
    return {
        "session_id": session.state.state_id,
        "sequence_number": session.state.sequence_number,
        "manifest_id": session.manifest_id[:MAX_TEXT_CHARACTERS],
        "pm_session_id": session.info.pm_session_id,
        "orch_url": session.info.transcoder[:MAX_TEXT_CHARACTERS],
        "type": session.request.type[:MAX_TEXT_CHARACTERS],
    }
