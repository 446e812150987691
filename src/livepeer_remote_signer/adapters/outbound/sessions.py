"""A session of requests, for libraries that come with it: the same proxy and the same authorities as everybody's."""

from __future__ import annotations

import ssl
from typing import Any

import requests
from requests.adapters import HTTPAdapter


class _Adapter(HTTPAdapter):
    """Connects with our context, and adds no authority of its own to it."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._tls = tls
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **options: Any) -> Any:
        return super().init_poolmanager(*arguments, ssl_context=self._tls, **options)

    def proxy_manager_for(self, proxy: Any, **options: Any) -> Any:
        return super().proxy_manager_for(proxy, ssl_context=self._tls, proxy_ssl_context=self._tls, **options)

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """The context verifies."""
        conn.cert_reqs = "CERT_REQUIRED"


def open_session(proxy: str | None, tls: ssl.SSLContext) -> requests.Session:
    """Obeys no variable of the environment."""
    session = requests.Session()
    session.trust_env = False
    session.mount("https://", _Adapter(tls))
    session.mount("http://", _Adapter(tls))
    if proxy is not None:
        session.proxies = {"http": proxy, "https": proxy}
    return session
