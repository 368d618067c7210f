"""Where a price comes from, and when there is none."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Any

import pytest

from harness.models.entry import BaselineModel, LoraxModel, OpenAIModel, Price
from harness.models.prices import Priced, most_output, price_of


def test_the_models_file_has_the_last_word() -> None:
    model = OpenAIModel(backend="openai", model="gpt-4-0613", price=Price(input=1, output=2))
    found = price_of(model, "task")
    assert found is not None
    assert found.price == Price(input=1, output=2)
    assert found.source == "models file"


def test_a_known_model_gets_its_vendors_price_with_package_and_date() -> None:
    found = price_of(OpenAIModel(backend="openai", model="gpt-4-0613"), "task")
    assert found is not None
    assert found.price == Price(input=30, output=60)
    seen = re.fullmatch(r"genai-prices [\d.]+ \(newest dated price (\d{4}-\d\d-\d\d)\)", found.source)
    assert seen is not None
    assert date(2026, 1, 1) < date.fromisoformat(seen[1]) <= datetime.now(UTC).date()


def test_the_address_decides_whose_price_it_is() -> None:
    name = "meta-llama/llama-3-8b-instruct"
    vendor = price_of(OpenAIModel(backend="openai", base_url="https://openrouter.ai/api/v1", model=name), "task")
    assert vendor is not None
    assert 0 < vendor.price.input <= vendor.price.output < 1
    assert price_of(OpenAIModel(backend="openai", base_url="http://localhost:8000/v1", model=name), "task") is None


@pytest.mark.parametrize("name", ["gpt-nonesuch", "{task}", "${MODEL}"])
def test_an_unknown_model_has_no_price(name: str) -> None:
    assert price_of(OpenAIModel(backend="openai", model=name), "jigsaw") is None


def test_a_server_of_ones_own_has_no_price() -> None:
    assert price_of(LoraxModel(backend="lorax", base_url="http://localhost:8080"), "task") is None


def test_a_batch_costs_half() -> None:
    usual = price_of(OpenAIModel(backend="openai", model="gpt-5"), "task")
    batch = price_of(OpenAIModel(backend="openai", model="gpt-5", batch=True), "task")
    assert usual is not None
    assert batch is not None
    assert (batch.price.input, batch.price.output) == (usual.price.input / 2, usual.price.output / 2)


def test_half_is_taken_of_the_models_files_price_too_and_said() -> None:
    model = OpenAIModel(backend="openai", model="m", price=Price(input=4, output=8), batch=True)
    assert price_of(model, "task") == Priced("models file, half of it in batches", Price(input=2, output=4))


def test_the_hours_of_a_server_are_a_price() -> None:
    model = LoraxModel(backend="lorax", base_url="http://localhost:8080", gpu_per_hour=3)
    assert price_of(model, "task") == Priced("gpu_per_hour", per_hour=3)


def test_baselines_and_a_server_that_costs_nothing_are_free() -> None:
    nothing = LoraxModel(backend="lorax", base_url="http://localhost:8080", gpu_per_hour=0)
    for model in (BaselineModel(backend="baseline", method="majority"), nothing):
        found = price_of(model, "task")
        assert found is not None
        assert found.free


@pytest.mark.parametrize(
    ("settings", "most"),
    [
        ({}, 16),
        ({"extra": {"n": 4}}, 64),
        ({"extra": {"max_tokens": 100}}, 100),
        ({"extra": {"max_tokens": -1}}, None),
        ({"extra": {"max_tokens": None}}, None),
        ({"extra": {"max_tokens": "many"}}, None),
        ({"extra": {"n_predict": -1}}, None),
        ({"omit": ["max_tokens"]}, None),
        ({"omit": ["max_tokens"], "extra": {"n_predict": 64}}, 64),
        ({"max_tokens_key": "max_completion_tokens", "extra": {"max_tokens": None}}, 16),
    ],
)
def test_the_most_that_is_written_is_what_is_sent_as_the_limit(settings: dict[str, Any], most: int | None) -> None:
    assert most_output(OpenAIModel(backend="openai", model="m", **settings), 16) == most
