"""A refused request leaves nothing behind: no circle of an error and the calls that it came through, which hold what was sent."""

from __future__ import annotations

import base64
import gc
import json
import time
from types import FrameType

import pytest
import yaml

from livepeer_remote_signer.api.errors import error_reply
from livepeer_remote_signer.api.reply import Reply
from livepeer_remote_signer.app import create_app
from livepeer_remote_signer.config.loading import parse_config
from livepeer_remote_signer.core.errors import ChainStale, OrchestratorPaused, PriceExceeded, RateExceeded, SignerError
from livepeer_remote_signer.proto import net_pb2
from tests.asgi import running
from tests.plans import orchestrator_info
from tests.signer import configuration


def with_padded_token() -> bytes:
    info = net_pb2.OrchestratorInfo.FromString(orchestrator_info(now_ns=time.time_ns()))
    info.auth_token.token = bytes(100 * 1024)
    return info.SerializeToString()


def collect_all() -> None:
    """Also what is let go of by finalizers, which takes another round."""
    for _ in range(10):
        if not gc.collect():
            return


def answers(file: str) -> bool:
    """Whether a file is of what answers requests; the configuration was read before."""
    return "/livepeer_remote_signer/" in file and "/config/" not in file


@pytest.mark.parametrize(
    "body",
    [
        {"orchestrator": base64.b64encode(with_padded_token()).decode(), "type": "live"},
        {"orchestrator": "A" * 1000, "app": "\\"},
        {"orchestrator": base64.b64encode(orchestrator_info(now_ns=1)).decode(), "type": "no such type"},
        {"orchestrator": base64.b64encode(orchestrator_info(price_per_unit=0)).decode(), "type": "live"},
    ],
)
async def test_a_refusal_is_gone_with_its_reply(body: dict[str, str]) -> None:
    front = create_app(parse_config(yaml.safe_dump(configuration(limits={"max_unidentified_bytes_per_second": 2**30})), {}))
    async with running(front):
        collect_all()
        gc.disable()
        try:
            for _ in range(100):  # more than are kept for anybody to look at
                answer = front.paying.respond("/generate-live-payment", [], json.dumps(body).encode(), "127.0.0.1")
                reply = answer if isinstance(answer, Reply) else await answer
                assert 400 <= reply.status < 500
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            frames = [found.f_code for found in gc.garbage if isinstance(found, FrameType)]
            assert [code.co_qualname for code in frames if answers(code.co_filename)] == []
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (RateExceeded("too many"), b"5"),
        (RateExceeded("too many", retry_after_seconds=60), b"60"),
        (ChainStale("stale"), b"5"),
        (OrchestratorPaused("paused", retry_after_seconds=9), b"9"),
        (PriceExceeded("too dear"), None),
    ],
)
def test_whoever_may_come_again_is_told_when(error: SignerError, seconds: bytes | None) -> None:
    assert dict(error_reply(error, "r1").headers).get(b"retry-after") == seconds
