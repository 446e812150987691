"""What orchestrators say is read with suspicion."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepeer_remote_signer.core.protocol.ticket import MAX_WIN_PROB
from livepeer_remote_signer.core.protocol.wire import MAX_CAPABILITY_MODELS
from livepeer_remote_signer.core.rules.addresses import AddressPolicy
from livepeer_remote_signer.core.rules.advertised import (
    MAX_NODES,
    MAX_ORCHESTRATORS,
    MAX_RUNNERS,
    MAX_TOLD,
    Offer,
    Runner,
    TicketTerms,
    UrlChoice,
    choose_urls,
    normal_form,
    parse_nodes,
    parse_pool,
    parse_terms,
)
from livepeer_remote_signer.proto import net_pb2
from tests.advertised import LLM, LV2V, PUBLIC, RECIPIENT, A, B, info, nodes_of, parse_offers, runner


def test_a_webhooks_list_is_its_usable_urls_once() -> None:
    body = [{"address": A + "/"}, {"address": A}, {"address": B, "score": 1}, {"address": "ftp://x"}, {"address": 5}, "x", {}]
    assert parse_pool(json.dumps(body).encode()).urls == (A, B)
    many = [{"address": f"https://o{n}.example:1"} for n in range(MAX_ORCHESTRATORS + 5)]
    chosen = parse_pool(json.dumps([*many, *many[:3]]).encode())
    assert len(chosen.urls) == MAX_ORCHESTRATORS
    assert chosen.left_out == (f"what comes after the first {MAX_ORCHESTRATORS} orchestrators",)


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://orch.example.com", "https://orch.example.com"),
        ("https://Orch.example.com/", "https://Orch.example.com"),
        ("https://orch.example.com:443/", "https://orch.example.com:443"),
        ("https://orch.example.com:8935/path//", "https://orch.example.com:8935/path"),
        ("https://orch.example.com:?#", "https://orch.example.com"),
        ("https://[2606:4700::1]/", "https://[2606:4700::1]"),
    ],
)
def test_an_address_stays_as_it_was_given_but_for_its_trailing_slash(url: str, kept: str) -> None:
    assert choose_urls([url]) == UrlChoice((kept,))
    assert normal_form(kept) == normal_form(url)


def test_two_spellings_of_one_orchestrator_are_one_and_the_first_is_kept() -> None:
    assert choose_urls(["https://O.example", "https://o.example:443/", "https://o.example:8935"]) == UrlChoice(
        ("https://O.example", "https://o.example:8935")
    )


def test_what_is_left_out_is_told_with_its_reason_and_without_its_secrets() -> None:
    body = [{"address": "http://a.example:8935"}, {"address": "b.example:8935"}, {"address": "https://me:hunter2@c.example?k=hunter2"}, 5]
    chosen = parse_pool(json.dumps(body).encode())
    assert chosen.urls == ()
    assert [text.partition(": ")[0] for text in chosen.left_out] == [
        "'http://a.example:8935'",
        "'b.example:8935'",
        "'c.example'",
        "an entry without an address",
    ]
    assert "must start with https://" in chosen.left_out[0]
    assert "hunter2" not in str(chosen.left_out)
    many = choose_urls(f"http://o{n}.example" for n in range(30))
    assert many.left_out[MAX_TOLD:] == (f"and {30 - MAX_TOLD} more",)


@pytest.mark.parametrize("body", [b"", b"{}", b'"x"', b"[", b"[" * 100_000, b"[NaN]", b"\xff"])
def test_a_body_that_is_no_list_is_an_error(body: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_pool(body)
    with pytest.raises(ValueError, match=r".+"):
        parse_nodes(body, PUBLIC)


def test_every_priced_pair_is_an_offer_named_pipeline_and_model() -> None:
    offers = parse_offers(info([(LV2V, "streamdiffusion"), (LLM, "llama")], (7, 3)))
    assert {(offer.name, offer.price) for offer in offers} == {
        ("live-video-to-video/streamdiffusion", Fraction(7, 3)),
        ("llm/llama", Fraction(7, 3)),
    }


def test_the_models_own_price_comes_before_the_general_one_and_the_first_counts() -> None:
    prices = [
        net_pb2.PriceInfo(pricePerUnit=9, pixelsPerUnit=0, capability=LV2V, constraint="m"),
        net_pb2.PriceInfo(pricePerUnit=5, pixelsPerUnit=1, capability=LV2V, constraint="m"),
        net_pb2.PriceInfo(pricePerUnit=1, pixelsPerUnit=1, capability=LV2V, constraint="m"),
        net_pb2.PriceInfo(pricePerUnit=2, pixelsPerUnit=1, capability=LLM, constraint="m"),
    ]
    offers = parse_offers(info([(LV2V, "m"), (LV2V, "n")], capabilities_prices=prices))
    assert [(offer.model, offer.price) for offer in offers] == [("m", 5), ("n", 100)]


@pytest.mark.parametrize("price", [None, (5, 0), (-5, 1), (5, -1)])
def test_a_pair_without_a_real_price_is_left_out(price: tuple[int, int] | None) -> None:
    assert parse_offers(info([(LV2V, "m")], price)) == ()


@pytest.mark.parametrize("model", ["", " ", "x" * 300, "a\nb", "a\ufffdb"])
def test_a_model_without_a_plain_name_is_left_out(model: str) -> None:
    assert parse_offers(info([(LV2V, model), (LV2V, "good")])) == (Offer(LV2V, "good", Fraction(100)),)


def test_capabilities_without_a_name_are_left_out_and_their_number_is_bounded() -> None:
    assert parse_offers(info([(5, "m"), (999, "m")])) == ()
    assert len(parse_offers(info([(LV2V, f"m{n}") for n in range(MAX_CAPABILITY_MODELS + 9)]))) == MAX_CAPABILITY_MODELS


def test_bytes_that_are_no_info_are_an_error() -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse_offers(b"\xff\xff")


def test_a_runner_is_listed_with_its_known_fields_and_the_prices_own_digits() -> None:
    given_runner = runner(
        version="1.0",
        metadata="möglich",
        mode="live",
        capacity=4,
        capacity_used=1,
        capacity_available=3,
        gpu={"id": "0", "name": "4090", "vram_mb": 24000, "secret": {"x": 1}},
        colour="red",
    )
    body = json.dumps([{"address": A, "runners": [given_runner]}]).replace('"price": 12', '"price": 12.00000000000000000001')
    (node,) = parse_nodes(body.encode(), PUBLIC)
    (parsed,) = node.runners
    assert parsed.price == 12 + Fraction(1, 10**20)
    assert '"price":12.00000000000000000001' in parsed.encoded
    value = json.loads(parsed.encoded)
    assert value["gpu"] == {"id": "0", "name": "4090", "vram_mb": 24000}
    assert "colour" not in value
    assert (value["metadata"], value["capacity"], value["capacity_available"]) == ("möglich", 4, 3)
    assert value["price_info"]["currency"] == "wei"


@pytest.mark.parametrize(
    "price",
    [
        {"price": "12", "currency": " WEI ", "unit": " Seconds "},
        {"price": 1e2, "currency": "wei", "unit": "fixed"},
        {"price": 0.5, "currency": "wei", "unit": "720p-pixel-seconds"},
    ],
)
def test_a_price_may_be_spelled_in_any_case_as_number_or_text(price: dict[str, Any]) -> None:
    assert len(nodes_of(runner(price_info=price))[0].runners) == 1


@pytest.mark.parametrize(
    "bad",
    [
        "x",
        runner(url=""),
        runner(url=None),
        runner(url=" https://x"),
        runner(url="https://x/\n"),
        runner(url="x" * 3000),
        runner(url="https://127.0.0.1/x"),
        runner(url="http://169.254.169.254/latest"),
        runner(url="https://[::1/x"),
        runner(app=""),
        runner(app="  "),
        runner(app=7),
        runner(app="a\ufffd"),
        runner(price_info=None),
        runner(price_info=[]),
        runner(price_info={"price": 0, "currency": "wei", "unit": "seconds"}),
        runner(price_info={"price": -1, "currency": "wei", "unit": "seconds"}),
        runner(price_info={"price": "1e999999999", "currency": "wei", "unit": "seconds"}),
        runner(price_info={"price": "1/2", "currency": "wei", "unit": "seconds"}),
        runner(price_info={"price": True, "currency": "wei", "unit": "seconds"}),
        runner(price_info={"price": 1, "currency": "usd", "unit": "seconds"}),
        runner(price_info={"price": 1, "currency": "wei", "unit": "hours"}),
        runner(price_info={"price": 1, "currency": 5, "unit": "seconds"}),
        runner(price_info={"price": 1, "currency": "wei"}),
        runner(metadata="x" * 1025),
        runner(metadata="é" * 600),
        runner(metadata="broken \ufffd"),
        runner(metadata="lone \ud800"),
        runner(metadata={"a": 1}),
        runner(metadata=[]),
        runner(url="https://x/" + "y" * 2030, metadata="\u0001" * 1000),
    ],
)
def test_a_runner_that_is_not_as_it_should_be_is_left_out_and_its_neighbour_stays(bad: Any) -> None:
    (node,) = nodes_of(bad, runner(url="https://good.example/"))
    assert [r.url for r in node.runners] == ["https://good.example/"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("capacity", value) for value in (None, "4", -1, 1.5, 10**30, [])),
        *(("capacity_used", value) for value in (None, True)),
        *(("gpu", value) for value in (None, [1], "4090", 1)),
        *((field, value) for field in ("version", "mode") for value in (None, 1, "broken \ufffd")),
        ("metadata", None),
    ],
)
def test_a_field_that_is_not_as_it_should_be_is_left_out_and_the_runner_stays(field: str, value: Any) -> None:
    (kept,) = nodes_of(runner(**{field: value}))[0].runners
    encoded = json.loads(kept.encoded)
    assert field not in encoded
    assert encoded["price_info"] == {"price": 12, "currency": "wei", "unit": "seconds"}


def test_bytes_that_are_not_utf8_cost_only_the_runner_that_holds_them() -> None:
    body = json.dumps([{"address": A, "runners": [runner(metadata="@@"), runner(url="https://good.example/")]}]).encode()
    (node,) = parse_nodes(body.replace(b"@@", b"\xff\xfe"), PUBLIC)
    assert [r.url for r in node.runners] == ["https://good.example/"]


@pytest.mark.parametrize("address", [None, 5, "", "x", "http://a.example", "https://127.0.0.1:8935", "https://10.0.0.1:8935"])
def test_a_node_whose_address_may_not_be_dialled_is_left_out(address: Any) -> None:
    assert nodes_of(runner(), address=address) == ()


def test_loopback_nodes_are_taken_where_private_addresses_are_granted() -> None:
    body = json.dumps([{"address": "https://127.0.0.1:8935/", "runners": [runner(url="https://127.0.0.1/x")]}]).encode()
    (node,) = parse_nodes(body, AddressPolicy(allow_private=True))
    assert (node.address, len(node.runners)) == ("https://127.0.0.1:8935", 1)


def test_nodes_and_runners_are_bounded() -> None:
    entries = ["x", {"address": A}, {"address": A, "runners": {}}]
    assert parse_nodes(json.dumps(entries).encode(), PUBLIC) == ()
    many = [{"address": f"https://n{n}.example", "runners": [runner()] * 10} for n in range(MAX_NODES + 5)]
    nodes = parse_nodes(json.dumps(many).encode(), PUBLIC)
    assert len(nodes) == MAX_NODES
    assert sum(len(node.runners) for node in nodes) == MAX_RUNNERS
    fat = [runner(url=f"https://r{n}.example/", metadata="m" * 1000) for n in range(200)]
    assert sum(len(r.encoded) for r in nodes_of(*fat)[0].runners) <= 64 * 1024


def test_a_node_whose_tickets_pay_another_account_is_known_by_that_one() -> None:
    params = net_pb2.TicketParams(recipient=bytes([9]) * 20)
    assert parse_terms(info([], address=RECIPIENT, ticket_params=params)).recipient == bytes([9]) * 20


def test_the_nodes_that_are_advertised_are_taken_as_urls_and_bounded() -> None:
    nodes = ["https://n1.example:8935/", "http://n2.example", "x" * 5000, "https://n1.example:8935"]
    assert parse_terms(info([], nodes=nodes)).nodes == ("https://n1.example:8935",)
    many = [f"https://n{n}.example" for n in range(MAX_NODES + 5)]
    assert parse_terms(info([], nodes=many)).nodes == tuple(many[:MAX_NODES])
    assert parse_terms(info([], transcoder="https://t.example/" + "x" * 5000)).transcoder == ""


@pytest.mark.parametrize(
    ("gpu", "kept"),
    [
        ({"id": 0, "name": "4090"}, {"name": "4090"}),
        ({"id": "0", "name": 4090}, {"id": "0"}),
        ({"name": "x", "vram_mb": "24000"}, {"name": "x"}),
        ({"name": "x", "vram_mb": 24000.5}, {"name": "x"}),
        ({"name": "x", "vram_mb": [1]}, {"name": "x"}),
        ({"NAME": "x", "Vram_MB": 24000}, {"name": "x", "vram_mb": 24000}),
        ({"vram_mb": None}, None),
    ],
)
def test_a_gpus_fields_have_the_types_that_readers_expect(gpu: dict[str, Any], kept: dict[str, Any] | None) -> None:
    """One field of another type makes the whole list unreadable for a typed reader."""
    (found,) = nodes_of(runner(gpu=gpu))[0].runners
    assert json.loads(found.encoded).get("gpu") == kept
    assert found.gpu == (kept or {}).get("name", "")


def test_keys_of_an_answer_match_in_any_case_and_the_last_counts() -> None:
    body = """[{"ADDRESS": "https://x.example", "Address": "https://a.example:8935", "Runners": [
      {"URL": "https://r.example/", "aPP": "me/app", "Capacity": 3, "Price_Info": {"Price": 5, "CURRENCY": "wei", "Unit": "seconds"}}]}]"""
    (node,) = parse_nodes(body.encode(), PUBLIC)
    assert node.address == A
    assert json.loads(node.runners[0].encoded) == {
        "url": "https://r.example/",
        "app": "me/app",
        "capacity": 3,
        "capacity_used": 0,
        "capacity_available": 0,
        "price_info": {"price": 5, "currency": "wei", "unit": "seconds"},
    }
    assert parse_pool(b'[{"Address": "https://a.example:8935"}]').urls == (A,)


@given(st.binary(max_size=200))
def test_any_bytes_are_nodes_offers_and_a_pool_or_a_value_error(raw: bytes) -> None:
    for parse in (parse_pool, parse_terms, lambda body: parse_nodes(body, PUBLIC)):
        try:
            found = parse(raw)
        except ValueError:
            continue
        assert isinstance(found, tuple)


STRANGE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*sorted(runner()), "gpu", "metadata"]), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*sorted(runner()), "gpu", "metadata", "capacity"]), STRANGE))
def test_a_strange_runner_is_left_out_or_is_json_that_reads_back(changes: dict[str, Any]) -> None:
    body = json.dumps([{"address": A, "runners": [runner(**changes)]}]).encode()
    try:
        nodes = parse_nodes(body, PUBLIC)
    except ValueError:
        return
    for parsed in nodes[0].runners:
        assert isinstance(parsed, Runner)
        assert json.loads(parsed.encoded)["url"] == parsed.url


@pytest.mark.parametrize(
    ("face_value", "win_prob", "price", "expected"),
    [
        (3 * 10**12, MAX_WIN_PROB // 3, (100, 7), TicketTerms(Fraction(100, 7), Fraction(10**12), 3 * 10**12)),
        (0, 5, (100, 1), None),
        (5, 0, (100, 1), None),
        (5, 5, (0, 1), None),
        (2**256, 5, (100, 1), None),
    ],
)
def test_a_tickets_terms_are_read_where_they_are_worth_something(
    face_value: int, win_prob: int, price: tuple[int, int], expected: TicketTerms | None
) -> None:
    params = net_pb2.TicketParams(face_value=face_value.to_bytes(33, "big").lstrip(b"\0"), win_prob=win_prob.to_bytes(32, "big"))
    assert parse_terms(info([], price, address=RECIPIENT, ticket_params=params)).ticket == expected
    assert parse_terms(info([], price, address=b"short", ticket_params=params)).ticket is None
