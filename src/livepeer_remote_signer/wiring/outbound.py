"""Composition of the signer's own HTTP requests: configuration and environment -> one way to make them. Part of `app`, and of commands."""

from __future__ import annotations

from livepeer_remote_signer.adapters.outbound import Outbound, OutboundFault
from livepeer_remote_signer.config.loading import ConfigError
from livepeer_remote_signer.config.outbound import OutboundConfig


def open_outbound(config: OutboundConfig) -> Outbound:
    """Ready for use. Raises ConfigError for certificates that cannot be read, whether the file or the environment names them."""
    outbound = Outbound(config.proxy, config.ca_file, idle_seconds=config.idle_seconds)
    try:
        outbound.load()
    except OutboundFault as fault:
        raise ConfigError(str(fault)) from None
    return outbound
