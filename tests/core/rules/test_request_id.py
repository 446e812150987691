"""A request's id is a string like any other, which may carry what became known of the request."""

from __future__ import annotations

import json

from livepeer_remote_signer.core.rules.request_id import RequestId, trail_of

NAME = "0123456789abcdef0123456789abcdef"


def test_it_is_its_name() -> None:
    request_id = RequestId.begin(NAME, "theirs", 1.5)
    assert request_id == NAME
    assert f"{request_id}" == NAME
    assert json.dumps({"request_id": request_id}) == json.dumps({"request_id": NAME})


def test_it_carries_what_was_known_when_it_began() -> None:
    request_id = RequestId.begin(NAME, "theirs", 1.5)
    assert trail_of(request_id) is request_id
    assert (request_id.client_id, request_id.started, request_id.session, request_id.marks) == ("theirs", 1.5, None, [])


def test_a_plain_string_has_no_trail() -> None:
    assert trail_of(NAME) is None
