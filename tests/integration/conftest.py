"""Signers that many tests share: started once for each file of tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.served import PatientHook, Served, patient_hook, served

BODY_TIMEOUT_SECONDS = 3.0
MAX_IN_WORK = 4
MAX_BODY_BYTES = 1024 * 1024
"""Above the default: what hostile bodies cost is measured up to here."""


LIMITS = {
    "body_timeout_seconds": BODY_TIMEOUT_SECONDS,
    "max_body_bytes": MAX_BODY_BYTES,
    "max_unidentified_bytes_per_second": 2**30,  # one test after the other sends as much as the limits of each allow
}


class Pair(NamedTuple):
    """A signer that asks a webhook, and that webhook."""

    signer: Served
    hook: PatientHook


@pytest.fixture(scope="module")
def prompt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A signer that has nobody to ask: it answers payments in one step."""
    with served(tmp_path_factory.mktemp("prompt"), limits=LIMITS) as signer:
        yield signer


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A signer whose payments wait for a webhook."""
    limits = {**LIMITS, "max_requests_in_work": MAX_IN_WORK, "answer_seconds": 60}
    with patient_hook() as hook:
        folder = tmp_path_factory.mktemp("asking")
        with served(folder, limits=limits, auth={"webhook": {"url": hook.url, "timeout_seconds": 60}}) as signer:
            yield Pair(signer, hook)


@pytest.fixture(params=["prompt", "asking"])
def either(request: pytest.FixtureRequest) -> Served:
    """Both kinds, one after the other."""
    signer = request.getfixturevalue(request.param)
    return signer.signer if isinstance(signer, Pair) else signer
