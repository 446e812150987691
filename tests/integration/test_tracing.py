"""Traces of real payments, received over OTLP/HTTP as a collector would."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from livepeer_remote_signer.adapters.tracing import traces_url
from tests.served import post, served
from tests.signer import PAY


class Collector:
    """What arrived."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.resources: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.port = 0


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector on a free port."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            request = ExportTraceServiceRequest.FromString(body)
            collector.paths.append(self.path)
            for resource in request.resource_spans:
                collector.resources.append({a.key: a.value.string_value for a in resource.resource.attributes})
                for scope in resource.scope_spans:
                    collector.spans.extend(scope.spans)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def attributes(span: Any) -> dict[str, Any]:
    """A span's attributes as plain values."""
    return {a.key: a.value.int_value if a.value.WhichOneof("value") == "int_value" else a.value.string_value for a in span.attributes}


@pytest.mark.operate
def test_each_payment_is_a_trace_with_a_span_for_each_phase(tmp_path: Path) -> None:
    with collecting() as collector:
        tracing = {"tracing": {"otlp_endpoint": f"http://127.0.0.1:{collector.port}"}}
        with served(tmp_path, ledger={"backend": "sqlite", "path": str(tmp_path / "ledger")}, **tracing) as signer:
            paid = signer.pay()
            refused = signer.exchange(post(b"{"))
            signer.end()
    assert set(collector.paths) == {"/v1/traces"}
    assert collector.resources[0]["service.name"] == "livepeer-remote-signer"
    roots = {attributes(span)["request_id"]: span for span in collector.spans if not span.parent_span_id}
    root = roots[paid.headers["x-request-id"]]
    assert root.name == f"POST {PAY}"
    assert attributes(root)["http.response.status_code"] == 200
    assert attributes(root)["manifest_id"] == "m1"
    children = [span for span in collector.spans if span.parent_span_id == root.span_id]
    assert {span.name for span in children} >= {"parse", "open", "policy", "lookup", "ledger"}
    for span in children:
        assert span.trace_id == root.trace_id
        assert root.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano <= root.end_time_unix_nano
    denied = roots[refused.headers["x-request-id"]]
    assert attributes(denied)["code"] == "bad_json"
    assert {span.name for span in collector.spans if span.parent_span_id == denied.span_id} == {"parse"}


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
        ("http://127.0.0.1:4318/", "http://127.0.0.1:4318/v1/traces"),
        ("https://collector.example/otlp/v1/traces", "https://collector.example/otlp/v1/traces"),
    ],
)
def test_an_endpoint_without_a_path_is_completed(endpoint: str, url: str) -> None:
    assert traces_url(endpoint) == url
