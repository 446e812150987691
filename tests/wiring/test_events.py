"""Each kind of sink becomes its own."""

from __future__ import annotations

import json
from pathlib import Path

from livepeer_remote_signer.adapters.events.file import FileSink
from livepeer_remote_signer.adapters.events.http import HttpSink
from livepeer_remote_signer.adapters.events.kafka import KafkaSink
from livepeer_remote_signer.adapters.outbound import Outbound
from livepeer_remote_signer.config.loading import parse_config
from livepeer_remote_signer.wiring.events import open_sinks
from tests.signer import configuration


def test_a_sink_is_of_the_kind_that_is_configured(tmp_path: Path) -> None:
    sinks = [
        {"type": "file", "path": str(tmp_path / "events.jsonl")},
        {"type": "http", "url": "http://127.0.0.1:9/events"},
        {"type": "kafka", "brokers": ["127.0.0.1:9092"], "topic": "events"},
    ]
    config = parse_config(json.dumps(configuration(events={"sinks": sinks})), {})
    opened = open_sinks(config, Outbound())
    assert [type(sink) for sink in opened] == [FileSink, HttpSink, KafkaSink]
    assert [sink.kind for sink in opened] == ["file", "http", "kafka"]
