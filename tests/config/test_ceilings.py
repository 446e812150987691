"""What is read of price ceilings: the file in go-livepeer's form, and the list in the configuration."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest

from livepeer_remote_signer.config.ceilings import ceiling_amounts
from livepeer_remote_signer.config.loading import ConfigError
from livepeer_remote_signer.config.models import Config
from livepeer_remote_signer.config.values import PriceAmount
from tests.config.reading import LEAST, fault, read


@pytest.mark.parametrize("spelled", ["live-video-to-video", "Live video to video", "LIVE-VIDEO-TO-VIDEO", " Live-video to video "])
def test_a_pipeline_may_be_spelled_as_go_livepeer_prints_it(tmp_path: Path, spelled: str) -> None:
    entry = f'{{"pipeline": "{spelled}", "price_per_unit": 5}}'
    for config in (
        ceilings_of(tmp_path, f'{{"capabilities_prices": [{entry}]}}'),
        read(f"prices: {{max_price_per_capability: [{entry}]}}"),
    ):
        assert [price.pipeline for price in config.prices.max_price_per_capability] == ["live-video-to-video"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"capabilities_prices": [], "capabilities_prices": []}', "the key 'capabilities_prices' stands twice"),
        (
            '{"capabilities_prices": [{"pipeline": "llm", "price_per_unit": 1, "price_per_unit": 2}]}',
            "the key 'price_per_unit' stands twice",
        ),
        (
            '{"capabilities_prices": [{"pipeline": "llm", "price_per_unit": 1}, {"pipeline": "Llm", "model_id": "", "price_per_unit": 2}]}',
            "entries 0 and 1 are both for llm and the model 'default'",
        ),
        ('{"capabilities_prices": [], "capability_prices": []}', "unknown key 'capability_prices': known here: capabilities_prices"),
        (
            '{"capabilities_prices": [{"pipeline": "llm", "price_per_unit": 1, "colour": 2}]}',
            "known here: currency, model_id, pipeline, pixels_per_unit, price_per_unit",
        ),
    ],
)
def test_a_price_file_that_says_two_things_is_refused(tmp_path: Path, text: str, said: str) -> None:
    """Of a doubled key JSON's readers take one in silence: all ceilings were gone once."""
    with pytest.raises(ConfigError) as refused:
        ceilings_of(tmp_path, text)
    assert said in str(refused.value)


def test_a_list_of_prices_that_says_two_things_is_refused() -> None:
    assert "entries 0 and 1 are both for llm" in fault(
        LEAST + "prices: {max_price_per_capability: [{pipeline: llm, price_per_unit: 1}, {pipeline: llm, price_per_unit: 2}]}"
    )


def ceilings_of(tmp_path: Path, content: str) -> Config:
    """The configuration whose ceilings stand in a file of this content."""
    (tmp_path / "prices.json").write_text(content)
    return read(f"prices: {{max_price_per_capability: {json.dumps(str(tmp_path / 'prices.json'))}}}")


def test_ceilings_are_read_from_go_livepeers_file_exactly(tmp_path: Path) -> None:
    entry = '{"pipeline": "llm", "model_id": "", "price_per_unit": 0.12345678901234567890123, "pixels_per_unit": "3", "currency": "USD"}'
    prices = ceilings_of(tmp_path, f'{{"capabilities_prices": [{entry}, {{"pipeline": "byoc", "price_per_unit": "5eth"}}]}}').prices
    first, second = prices.max_price_per_capability
    assert not isinstance(first, str)
    assert (first.model_id, first.price_per_unit.value, first.pixels_per_unit) == ("default", Fraction("0.12345678901234567890123"), 3)
    assert (second.model_id, second.price_per_unit, second.pixels_per_unit) == ("default", PriceAmount(Fraction(5), "eth"), None)


@pytest.mark.parametrize("currency", ['""', '" "', "null"])
def test_no_currency_is_wei_as_in_go_livepeer(tmp_path: Path, currency: str) -> None:
    entry = f'{{"pipeline": "llm", "price_per_unit": 1, "currency": {currency}}}'
    for config in (
        ceilings_of(tmp_path, f'{{"capabilities_prices": [{entry}]}}'),
        read(f"prices: {{max_price_per_capability: [{entry}]}}"),
    ):
        assert ceiling_amounts(config.prices).feed_currencies == set()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is not {"),
        ("[]", "is not {"),
        ("{}", "is not {"),
        ('{"capabilities_prices": 5}', "is not {"),
        ("[" * 100_00, "is not {"),
        ('{"capabilities_prices": [5]}', "valid dictionary"),
        ('{"capabilities_prices": [{"pipeline": "x", "price_per_unit": 1}]}', "unknown pipeline"),
        ('{"capabilities_prices": [{"pipeline": "llm"}]}', "'price_per_unit' is missing"),
        ('{"capabilities_prices": [{"pipeline": "llm", "price_per_unit": 1}, {"pipeline": "llm"}]}', "entry 1: the key 'price_per_unit'"),
    ],
)
def test_a_bad_ceilings_file_is_named(tmp_path: Path, content: str, said: str) -> None:
    with pytest.raises(ConfigError, match=r"max_price_per_capability \(.*prices.json\)") as error:
        ceilings_of(tmp_path, content)
    assert said in str(error.value)


def test_a_missing_ceilings_file_is_named() -> None:
    assert "cannot be read: No such file" in fault(LEAST + "prices: {max_price_per_capability: /none/prices.json}")
