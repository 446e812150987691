"""Configuration becomes what follows redeemed tickets."""

from __future__ import annotations

from pathlib import Path

import yaml

from livepeer_remote_signer.adapters.metrics import Metrics
from livepeer_remote_signer.adapters.metrics.by_sender import SenderGauges
from livepeer_remote_signer.adapters.outbound import Outbound
from livepeer_remote_signer.config.loading import parse_config
from livepeer_remote_signer.wiring.chain import open_chain
from livepeer_remote_signer.wiring.drawn import SUSPENDED_BY, open_drawn
from livepeer_remote_signer.wiring.ledger import open_ledger
from tests.plans import NOW_NS
from tests.signer import configuration


async def test_what_stops_payments_for_a_foreign_ticket_sets_the_switch_for_all_and_names_itself_in_the_audit_log(tmp_path: Path) -> None:
    sections = configuration(
        chain={"source": "rpc", "rpc": {"urls": ["http://127.0.0.1:1/a", "http://127.0.0.1:1/b"]}},
        ledger={"backend": "sqlite", "path": str(tmp_path / "ledger.sqlite")},
        drawn={"on_foreign_ticket": "suspend"},
    )
    config = parse_config(yaml.safe_dump(sections), {})
    ledger = open_ledger(config, lambda: NOW_NS)
    assert ledger is not None
    keys, metrics = {bytes(20): ""}, Metrics()
    chain = open_chain(config, bytes(20), Outbound())
    follower, _ = open_drawn(config, keys, chain, ledger, "a", metrics, SenderGauges(metrics, keys), lambda: NOW_NS)
    assert follower is not None
    await ledger.store.open()
    try:
        await ledger.users.follow()
        await follower._suspend()
        assert await ledger.controls.suspended() == [None]
        (line,) = await ledger.users.audit(None, 10)
        assert (line.action, line.auth_id, line.author) == ("suspend", "", SUSPENDED_BY)
    finally:
        await ledger.store.close()
