"""How tokens are counted: by the model's own tokenizer where it is, else by an approximation close to known counts."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiktoken.registry
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from harness.models import tokens
from harness.models.entry import LoraxModel, OpenAIModel

# Counted with tiktoken 0.14: text, tokens by cl100k_base, tokens by o200k_base.
COUNTED: dict[str, tuple[str, int, int]] = {
    "classification": (
        "Classify the comment below as toxic or not toxic. Answer with 1 when it is toxic and with 0 when it is not, "
        "and write nothing else.\n\n### Comment: You clearly have not read the article, but thank you for sharing "
        "your opinion with all of us.\n\n### Label:",
        59,
        59,
    ),
    "question": (
        "Read the passage and answer the question with true or false.\n\nPassage: The harbour was dredged in 1907, "
        "again in 1934, and for the last time in 1986, when 2,400 tonnes of sediment were carried 12 kilometres out "
        "to sea. Since then ships of up to 85 metres can enter at any tide.\n\nQuestion: can a ship of 90 metres "
        "enter the harbour at low tide?\n\nAnswer:",
        91,
        91,
    ),
    "arithmetic": (
        "A bakery sells rolls at $0.45 each, or 10 for $3.99. Marta buys 37 rolls and pays with a $20 note. How much "
        "change does she get? Think step by step, then write #### and the number.",
        53,
        52,
    ),
    "entities": (
        'Find all chemicals and diseases in the sentence. Answer with JSON: {"Chemical": [], "Disease": []}.\n\n'
        "Sentence: Prolonged treatment with amiodarone was followed by hypothyroidism in 3 of 41 patients and by "
        'pulmonary fibrosis in 1 (2.4%).\n\nAnswer: {"Chemical": ["amiodarone"], "Disease": ["hypothyroidism", '
        '"pulmonary fibrosis"]}',
        93,
        84,
    ),
    "code": (
        'def running_mean(values, window):\n    """Return the mean of each window of values."""\n    if window < 1 or '
        'window > len(values):\n        raise ValueError(f"window must be between 1 and {len(values)}, not {window}")'
        "\n    total = sum(values[:window])\n    means = [total / window]\n    for i in range(window, len(values)):\n"
        "        total += values[i] - values[i - window]\n        means.append(total / window)\n    return means\n",
        99,
        100,
    ),
    "table": (
        "Table: results_2019 (columns: team text, played int, won int, drawn int, points int)\nQuestion: Which teams "
        "won more than 10 matches and have fewer than 45 points?\nSQL: SELECT team FROM results_2019 WHERE won > 10 "
        "AND points < 45",
        61,
        61,
    ),
    "news": (
        "The regional government announced on Thursday that construction of the second railway tunnel will be "
        "postponed by at least eighteen months, citing unexpectedly difficult geological conditions. Environmental "
        "organisations welcomed the decision, whereas representatives of the transport industry called it "
        "irresponsible.",
        44,
        44,
    ),
}


@pytest.fixture(autouse=True)
def _nothing_loaded() -> Iterator[None]:
    tokens._encoding.cache_clear()
    yield
    tokens._encoding.cache_clear()


@pytest.mark.parametrize("name", COUNTED)
def test_the_approximation_of_a_text_is_within_a_fifth(name: str) -> None:
    text, cl100k, o200k = COUNTED[name]
    assert tokens.approximate(text) == pytest.approx(cl100k, rel=0.2)
    assert tokens.approximate(text) == pytest.approx(o200k, rel=0.2)


def test_the_approximation_of_many_texts_is_within_three_percent() -> None:
    estimated = sum(tokens.approximate(text) for text, _, _ in COUNTED.values())
    assert estimated == pytest.approx(sum(count for _, count, _ in COUNTED.values()), rel=0.03)
    assert estimated == pytest.approx(sum(count for _, _, count in COUNTED.values()), rel=0.03)


@given(st.text(), st.text())
def test_the_approximation_of_two_lines_is_that_of_both(one: str, other: str) -> None:
    apart = tokens.approximate(one) + tokens.approximate(other)
    assert 0 <= apart <= tokens.approximate(f"{one}.\n{other}") + 1e-9


def test_a_model_whose_folder_holds_its_tokenizer_is_counted_by_it(tmp_path: Path) -> None:
    own = Tokenizer(models.WordLevel({"one": 0, "two": 1, "?": 2}, unk_token="?"))
    own.pre_tokenizer = pre_tokenizers.Whitespace()
    own.save(str(tmp_path / "tokenizer.json"))
    found = tokens.tokenizer_for(OpenAIModel(backend="openai", model=str(tmp_path)), "task")
    assert found.name == f"the tokenizer of {tmp_path}"
    assert found.count("one two three one") == 4


def test_the_task_in_a_models_name_is_filled_in_before_its_folder_is_looked_for(tmp_path: Path) -> None:
    (tmp_path / "jigsaw").mkdir()
    Tokenizer(models.WordLevel({"?": 0}, unk_token="?")).save(str(tmp_path / "jigsaw" / "tokenizer.json"))
    model = OpenAIModel(backend="openai", model=f"{tmp_path}/{{task}}")
    assert tokens.tokenizer_for(model, "jigsaw").name == f"the tokenizer of {tmp_path}/jigsaw"
    assert tokens.tokenizer_for(model, "gsm8k").name == tokens.APPROXIMATION


@pytest.mark.parametrize("name", ["my-adapter", "mistralai/Mistral-7B-v0.1", "a/b/c/d", "${MODEL}", "not a hub id!"])
def test_a_model_without_a_tokenizer_at_hand_is_approximated(name: str) -> None:
    model = OpenAIModel(backend="openai", base_url="http://localhost:8000/v1", model=name)
    found = tokens.tokenizer_for(model, "task")
    assert found.name == tokens.APPROXIMATION
    assert found.count("some text") == tokens.approximate("some text")


def test_an_openai_model_is_counted_by_its_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    letters: dict[str, Any] = {
        "name": "o200k_base",
        "pat_str": ".",
        "mergeable_ranks": {bytes([byte]): byte for byte in range(256)},
        "special_tokens": {},
    }
    tiktoken.registry.list_encoding_names()
    monkeypatch.setitem(tiktoken.registry.ENCODING_CONSTRUCTORS or {}, "o200k_base", lambda: letters)
    monkeypatch.delitem(tiktoken.registry.ENCODINGS, "o200k_base", raising=False)
    for name in ("gpt-5-mini", "gpt-4o-2024-08-06", "openai/gpt-4o"):
        found = tokens.tokenizer_for(OpenAIModel(backend="openai", model=name), "task")
        assert found.name == "tiktoken o200k_base"
        assert found.count("abc") == 3
    tiktoken.registry.ENCODINGS.pop("o200k_base", None)


def test_a_network_that_swallows_packets_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(tokens, "SECONDS_TO_FETCH", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{silent.getsockname()[1]}")
        found = tokens.tokenizer_for(OpenAIModel(backend="openai", model="gpt-5"), "task")
    assert found.name == f"{tokens.APPROXIMATION}, as o200k_base is not available"
    assert found.count("some text") == tokens.approximate("some text")


def test_only_a_chat_model_gets_the_frame_of_a_chat() -> None:
    assert tokens.frame(OpenAIModel(backend="openai", model="gpt-4")) == tokens.CHAT_FRAME
    assert tokens.frame(OpenAIModel(backend="openai", model="base", api="completions")) == 0
    assert tokens.frame(LoraxModel(backend="lorax", base_url="http://localhost")) == 0
