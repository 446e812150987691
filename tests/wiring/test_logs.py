"""What the composition knows to be secret."""

from __future__ import annotations

import pytest
import yaml

from livepeer_remote_signer.adapters.logs import Redaction
from livepeer_remote_signer.config.files import known_secrets, known_urls
from livepeer_remote_signer.config.loading import parse_config
from tests.signer import configuration


@pytest.mark.parametrize(
    "sections",
    [
        {"tracing": {"otlp_endpoint": "https://user:plantedword@collector.example/v1/traces/planted-token-1?api-key=planted2"}},
        {"discovery": {"webhook_url": "https://user:plantedword@collector.example/v1/traces/planted-token-1?api-key=planted2"}},
        {"auth": {"webhook": {"url": "https://user:plantedword@collector.example/v1/traces/planted-token-1?api-key=planted2"}}},
        {
            "events": {
                "sinks": [{"type": "http", "url": "https://user:plantedword@collector.example/v1/traces/planted-token-1?api-key=planted2"}]
            }
        },
    ],
    ids=lambda sections: next(iter(sections)),
)
def test_what_is_secret_in_a_configured_url_stands_in_no_line(sections: dict[str, object]) -> None:
    config = parse_config(yaml.safe_dump(configuration(**sections)), {})
    redaction = Redaction(known_secrets(config), known_urls(config))
    said = redaction.clean(
        "HTTPSConnectionPool(host='collector.example', port=443): Max retries exceeded with url: "
        "/v1/traces/planted-token-1?api-key=planted2, as user:plantedword"
    )
    assert "planted" not in said
    assert "collector.example" in said
