"""The admin listener's routes: the token first, go-livepeer's forms as it takes them, JSON twins, kill switches."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from fractions import Fraction

import httpx
import pytest

from livepeer_remote_signer.adapters.ceilings import LiveCeilings
from livepeer_remote_signer.adapters.runtime_prices import RuntimePrices
from livepeer_remote_signer.api.admin import AdminParts, create_admin
from livepeer_remote_signer.api.admin_bodies import MAX_BODY_BYTES
from livepeer_remote_signer.core.rules.ceilings import Amount, CeilingAmounts

TOKEN = "a-token-of-the-operator"
GOOD = {"Authorization": f"Bearer {TOKEN}"}
FORM = {"maxPricePerUnit": "1000", "pixelsPerUnit": "4", "currency": "WEI", "pipeline": "text-to-image", "modelID": "stabilityai/sd-turbo"}


class Switches:
    def __init__(self) -> None:
        self.set: list[str | None] = []

    async def suspend(self, auth_id: str | None, author: str) -> None:
        self.set.append(auth_id)

    async def resume(self, auth_id: str | None, author: str) -> None:
        self.set = [s for s in self.set if s != auth_id]

    async def suspended(self) -> Sequence[str | None]:
        return self.set


@pytest.fixture
def ceilings() -> LiveCeilings:
    return LiveCeilings(CeilingAmounts(Amount(Fraction(5))))


def client_of(ceilings: LiveCeilings, switches: Switches | None, headers: dict[str, str]) -> httpx.AsyncClient:
    prices = RuntimePrices(ceilings.amounts, ceilings)
    app = create_admin(AdminParts(TOKEN, prices, lambda: ("usd",), switches, lambda: b"livepeer_x 1\n"))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://admin", headers=headers)


METRICS_TOKEN = "a-token-of-prometheus"


@pytest.mark.parametrize(
    ("method", "path", "is_open"),
    [("GET", "/metrics", True), ("GET", "/admin/prices", False), ("POST", "/admin/suspend", False), ("GET", "/metrics/", False)],
)
async def test_the_token_for_metrics_opens_nothing_else(ceilings: LiveCeilings, method: str, path: str, is_open: bool) -> None:
    prices, switches = RuntimePrices(ceilings.amounts, ceilings), Switches()
    app = create_admin(AdminParts(TOKEN, prices, lambda: (), switches, lambda: b"x 1\n", metrics_token=METRICS_TOKEN))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://admin") as client:
        answer = await client.request(method, path, headers={"Authorization": f"Bearer {METRICS_TOKEN}"}, content=b'{"all": true}')
        assert answer.status_code == (200 if is_open else 401)
        assert switches.set == []
        assert (await client.get("/metrics", headers=GOOD)).status_code == 200


async def test_without_a_token_for_metrics_an_empty_one_opens_nothing(client: httpx.AsyncClient) -> None:
    assert (await client.get("/metrics", headers={"Authorization": "Bearer "})).status_code == 401


@pytest.fixture
async def client(ceilings: LiveCeilings) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(ceilings, Switches(), GOOD) as opened:
        yield opened


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer nope"}, {"Authorization": TOKEN}, {"Authorization": f"Basic {TOKEN}"}, {"Authorization": "Bearer \xe9"}],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/setBroadcastConfig"), ("GET", "/metrics"), ("GET", "/admin/prices"), ("POST", "/admin/suspend"), ("GET", "/nope")],
)
async def test_without_the_token_nothing_is_told_and_nothing_done(
    ceilings: LiveCeilings, headers: dict[str, str], method: str, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with client_of(ceilings, Switches(), {}) as client:
        refused = await client.request(
            method, path, headers=[(k.encode(), v.encode("latin-1")) for k, v in headers.items()], data=FORM if method == "POST" else None
        )
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == "Bearer"
    (line,) = [record for record in caplog.records if record.message == "request refused"]
    assert line.fields["request_id"] == refused.headers["x-request-id"]  # type: ignore[attr-defined]
    assert ceilings.current().global_ceiling == 5


async def test_go_livepeers_form_sets_the_global_ceiling(client: httpx.AsyncClient, ceilings: LiveCeilings) -> None:
    done = await client.post(
        "/setBroadcastConfig",
        data={"maxPricePerUnit": "1000", "pixelsPerUnit": "4", "currency": "", "transcodingOptions": "P240p30fps16x9"},
    )
    assert (done.status_code, done.content) == (200, b"")
    assert ceilings.current().global_ceiling == 250
    assert (await client.post("/setBroadcastConfig?maxPricePerUnit=8&pixelsPerUnit=2")).status_code == 200
    assert ceilings.current().global_ceiling == 4
    assert (await client.post("/setBroadcastConfig", data={"transcodingOptions": "P240p30fps16x9"})).status_code == 200
    assert ceilings.current().global_ceiling == 4
    assert (await client.post("/setBroadcastConfig", data={"maxPricePerUnit": "0", "pixelsPerUnit": "1"})).status_code == 200
    assert ceilings.current().global_ceiling is None


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"maxPricePerUnit": "1"},
        {"pixelsPerUnit": "1"},
        {"maxPricePerUnit": "x", "pixelsPerUnit": "1"},
        {"maxPricePerUnit": "1", "pixelsPerUnit": "0"},
        {"maxPricePerUnit": "1", "pixelsPerUnit": "1", "currency": "EUR"},
    ],
)
async def test_a_form_that_cannot_be_applied_changes_nothing(
    client: httpx.AsyncClient, ceilings: LiveCeilings, form: dict[str, str]
) -> None:
    refused = await client.post("/setBroadcastConfig", data=form)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "bad_field")
    assert ceilings.current().global_ceiling == 5


async def test_go_livepeers_form_sets_the_ceiling_of_one_model(client: httpx.AsyncClient, ceilings: LiveCeilings) -> None:
    assert (await client.post("/setMaxPriceForCapability", data=FORM)).status_code == 200
    assert ceilings.current().per_capability == {(27, "stabilityai/sd-turbo"): 250}
    for missing in FORM:
        refused = await client.post("/setMaxPriceForCapability", data={k: v for k, v in FORM.items() if k != missing})
        assert refused.status_code == 400
        assert missing in refused.json()["error"]["message"]
    assert (await client.post("/setMaxPriceForCapability", data={**FORM, "pipeline": "nope"})).status_code == 400


async def test_the_json_twins_set_show_and_reset(client: httpx.AsyncClient, ceilings: LiveCeilings) -> None:
    shown = await client.post("/admin/prices", json={"price_per_unit": 0.25, "pipeline": "llm"})
    assert shown.status_code == 200
    assert ceilings.current().per_capability == {(33, "default"): Fraction(1, 4)}
    assert [line["source"] for line in shown.json()["ceilings"]] == ["config", "runtime"]
    assert shown.json()["kept_in"] == "memory"
    await client.post("/admin/prices", json={"price_per_unit": "0.10", "currency": "USD"})
    assert (await client.get("/admin/prices")).json()["ceilings"][0]["currency"] == "usd"
    await client.post("/admin/prices/reset", json={})
    reset = await client.post("/admin/prices/reset", json={"pipeline": "llm"})
    assert [(line["pipeline"], line["price_per_unit"], line["source"]) for line in reset.json()["ceilings"]] == [(None, "5", "config")]
    (line,) = (await client.get("/admin/prices")).json()["ceilings"]
    assert (line["price_per_unit"], line["source"], line["configured"]) == ("5", "config", None)
    assert ceilings.current().per_capability == {}


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        "{}",
        '{"price_per_unit": true}',
        '{"price_per_unit": -1}',
        '{"price_per_unit": 1, "price_per_unit": 2}',
        '{"price_per_unit": 1, "nope": 2}',
        '{"price_per_unit": 1e999999999}',
    ],
)
async def test_json_that_cannot_be_applied_changes_nothing(client: httpx.AsyncClient, ceilings: LiveCeilings, body: str) -> None:
    assert (await client.post("/admin/prices", content=body)).status_code == 400
    assert ceilings.current().global_ceiling == 5


async def test_kill_switches_are_set_shown_and_taken_back(client: httpx.AsyncClient) -> None:
    assert (await client.post("/admin/suspend", json={"auth_id": "team-a"})).json() == {"all": False, "auth_ids": ["team-a"]}
    assert (await client.post("/admin/suspend", json={"all": True})).json() == {"all": True, "auth_ids": ["team-a"]}
    assert (await client.post("/admin/resume", json={"auth_id": "team-a"})).json() == {"all": True, "auth_ids": []}
    assert (await client.post("/admin/resume", json={"all": True})).json() == {"all": False, "auth_ids": []}
    assert (await client.get("/admin/suspended")).json() == {"all": False, "auth_ids": []}


@pytest.mark.parametrize(
    "body",
    ["{}", '{"auth_id": ""}', '{"all": false}', '{"all": "yes"}', '{"auth_id": "a", "all": true}', '{"all": 1}', '{"auth_id": 5}', "null"],
)
async def test_a_switch_without_exactly_one_target_is_not_set(client: httpx.AsyncClient, body: str) -> None:
    for path in ("/admin/suspend", "/admin/resume"):
        assert (await client.post(path, content=body)).status_code == 400
    assert (await client.get("/admin/suspended")).json() == {"all": False, "auth_ids": []}


async def test_without_a_ledger_switches_say_what_they_need(ceilings: LiveCeilings) -> None:
    async with client_of(ceilings, None, GOOD) as client:
        refused = await client.post("/admin/suspend", json={"all": True})
    assert refused.status_code == 503
    assert "ledger.backend" in refused.json()["error"]["message"]


async def test_metrics_and_errors_have_their_usual_form(client: httpx.AsyncClient) -> None:
    assert (await client.get("/metrics")).text == "livepeer_x 1\n"
    assert (await client.get("/docs")).json()["error"]["code"] == "not_found"
    wrong = await client.get("/setBroadcastConfig")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    assert (await client.post("/admin/prices", content=b" " * (MAX_BODY_BYTES + 1))).status_code == 413


async def test_a_malformed_host_header_is_answered_like_any_other(client: httpx.AsyncClient) -> None:
    reply = await client.get("/nowhere", headers={"Host": "["})
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "not_found")
    assert (await client.get("/nowhere", headers={"Host": "[", "Authorization": "Bearer wrong"})).status_code == 401
