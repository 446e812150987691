"""One YAML file plus environment -> a frozen `Config`. Secrets come by file or environment only.

What other programs use of it is named here, and imported when it is asked for: the health check, which starts every ten
seconds, needs two files of this package and none of the libraries behind the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from livepeer_remote_signer.config.loading import ConfigError, load_config, parse_config
    from livepeer_remote_signer.config.models import Config

__all__ = ["Config", "ConfigError", "load_config", "parse_config"]


def __getattr__(name: str) -> Any:
    if name == "Config":
        from livepeer_remote_signer.config.models import Config

        return Config
    if name in __all__:
        from livepeer_remote_signer.config import loading

        return getattr(loading, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
