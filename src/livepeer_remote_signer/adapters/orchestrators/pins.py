"""Which certificate each orchestrator showed when it was trusted first, per host and port.

Kept in memory: after a restart of the signer the first use is trusted again. Orchestrators make a new certificate at
each start of theirs, so `tofu` pins the new one when the reply still names the same address, and says so in the log.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import NamedTuple

from livepeer_remote_signer.adapters.orchestrators.dialing import TlsPolicy
from livepeer_remote_signer.core.errors import OrchestratorUnreachable
from livepeer_remote_signer.core.rules.addresses import OrchestratorUrl

MAX_PINS = 8192

_log = logging.getLogger(__name__)


class Pin(NamedTuple):
    """The certificate's SHA-256, and the address that the orchestrator's reply named."""

    fingerprint: bytes
    address: bytes


class Pins:
    """The pins of one client. The oldest unused one is dropped beyond MAX_PINS."""

    def __init__(self, policy: TlsPolicy) -> None:
        self._policy = policy
        self._pins: OrderedDict[str, Pin] = OrderedDict()

    def get(self, url: OrchestratorUrl) -> Pin | None:
        """What is pinned for this host and port."""
        return self._pins.get(url.authority)

    def check_before_use(self, url: OrchestratorUrl, fingerprint: bytes) -> None:
        """With `pin-strict`, raises OrchestratorUnreachable before anything is sent to another certificate's holder."""
        pin = self._pins.get(url.authority)
        if self._policy == "pin-strict" and pin is not None and pin.fingerprint != fingerprint:
            raise OrchestratorUnreachable(
                f"the certificate of {url.authority} is not the pinned one: {_short(fingerprint)}, pinned {_short(pin.fingerprint)}",
                hint="if the orchestrator was restarted, restart the signer, or use orchestrators.tls: tofu",
                orchestrator=str(url),
            )

    def accept(self, url: OrchestratorUrl, fingerprint: bytes, address: bytes) -> None:
        """Pins what answered. Raises OrchestratorUnreachable when certificate and address both changed."""
        if self._policy == "system":
            return
        pin = self._pins.get(url.authority)
        if pin is not None and pin.fingerprint != fingerprint:
            if pin.address != address:
                raise OrchestratorUnreachable(
                    f"the certificate of {url.authority} changed, and its reply names 0x{address.hex()[:40]} "
                    f"instead of 0x{pin.address.hex()[:40]}",
                    hint="another orchestrator, or somebody in between, answers there now; restart the signer to trust it",
                    orchestrator=str(url),
                )
            _log.warning(
                "the certificate of orchestrator %s changed from %s to %s; it still names 0x%s, so the new one is pinned",
                url.authority,
                _short(pin.fingerprint),
                _short(fingerprint),
                address.hex()[:40],
            )
        self._pins[url.authority] = Pin(fingerprint, address)
        self._pins.move_to_end(url.authority)
        if len(self._pins) > MAX_PINS:
            self._pins.popitem(last=False)


def _short(fingerprint: bytes) -> str:
    return fingerprint.hex()[:16]
