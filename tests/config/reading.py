"""The smallest configuration that can be read, and what is said of one that cannot."""

from __future__ import annotations

import pytest

from livepeer_remote_signer.config.loading import ConfigError, parse_config
from livepeer_remote_signer.config.models import Config

KEY = "1f" * 32
LEAST = f"key: {{private_key: '{KEY}'}}\nchain: {{source: static}}\n"


def read(text: str = "", **environ: str) -> Config:
    """The smallest configuration with `text` after it."""
    return parse_config(LEAST + text, environ)


def fault(text: str, **environ: str) -> str:
    """What the ConfigError of this whole file says."""
    with pytest.raises(ConfigError) as error:
        parse_config(text, environ)
    return str(error.value)
