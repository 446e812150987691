"""One YAML file plus environment -> a frozen `Config`. Secrets come by file or environment only."""

from livepeer_remote_signer.config.loading import ConfigError, load_config, parse_config
from livepeer_remote_signer.config.models import Config

__all__ = ["Config", "ConfigError", "load_config", "parse_config"]
