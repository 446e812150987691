"""The admin listener's own rule: a token that can be guessed opens nothing, because nothing starts with it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from livepeer_remote_signer.app import create_app
from livepeer_remote_signer.config.loading import ConfigError, parse_config
from tests.signer import configuration


@pytest.mark.parametrize("key", ["token_file", "metrics_token_file"])
@pytest.mark.parametrize(("token", "starts"), [("x" * 15, False), ("x" * 16, True), ("x" * 15 + "\n", False), ("x" * 15 + "é", False)])
def test_a_token_of_fifteen_characters_is_refused_and_one_of_sixteen_starts(tmp_path: Path, key: str, token: str, starts: bool) -> None:
    file, good = tmp_path / "token", tmp_path / "good"
    file.write_text(token)
    good.write_text("g" * 16)
    admin = {"listen": "127.0.0.1:1", "token_file": str(good), key: str(file)}
    config = parse_config(yaml.safe_dump(configuration(admin=admin)), {})
    if starts:
        assert create_app(config).admin is not None
        return
    with pytest.raises(ConfigError, match=rf"admin\.{key} must hold at least 16 ASCII characters") as caught:
        create_app(config)
    assert token.strip() not in str(caught.value)
