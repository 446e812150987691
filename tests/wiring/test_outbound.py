"""What is wrong with the way out ends the start, in words that name the setting."""

from __future__ import annotations

from pathlib import Path

import pytest

from livepeer_remote_signer.config.loading import ConfigError
from livepeer_remote_signer.config.outbound import OutboundConfig
from livepeer_remote_signer.wiring.outbound import open_outbound


def test_authorities_that_cannot_be_read_end_the_start(tmp_path: Path) -> None:
    (tmp_path / "no.pem").write_text("no certificate")
    for name in ("no.pem", "missing.pem"):
        with pytest.raises(ConfigError, match=rf"outbound\.ca_file .*{name}"):
            open_outbound(OutboundConfig(ca_file=tmp_path / name))
