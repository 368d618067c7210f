"""Mistakes in an entry of the models file: one line that says where and what, before anything is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import SpecError
from harness.models.entry import load_models


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        *((f"{key}: .inf", f"m.{key}: Input should be a finite number") for key in ("timeout", "body_limit")),
        ("requests_per_minute: .inf", "m.requests_per_minute: Input should be a finite number"),
        ("price: {input: .inf, output: 1}", "m.price.input: Input should be a finite number"),
        ("extra: {top_p: .nan}", "Input should be a finite number"),
        ("extra: {day: 2026-01-01}", "m.extra.day: input was not a valid JSON value"),
        ("extra: {names: !!set {a, b}}", "m.extra.names: input was not a valid JSON value"),
        *(
            (f"base_url: {url}", "m.base_url: base_url is not a valid URL")
            for url in ("localhost:8000/v1", "ftp://h/v1")
        ),
        *(
            (f"base_url: http://h/v1{method}", f"m.base_url: {method.rstrip('/')} is added to base_url; leave it out")
            for method in ("/chat/completions", "/completions/", "/messages", "/generate", "/generate_stream")
        ),
        *(
            (f"base_url: 'http://{host}/v1'", "m.base_url: base_url is not a valid URL")
            for host in ("h:99999", "[::1", "")
        ),
        *(
            (f"api_key: '{key}'", "m.api_key: a variable is written ${NAME}")
            for key in ("${MY-KEY}", "${KEY", "${}", "$KEY")
        ),
        ("base_url: 'https://${MY-HOST}/v1'", "m.base_url: a variable is written ${NAME}"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, line: str, problem: str) -> None:
    path = tmp_path / "models.yaml"
    path.write_text(f"m:\n  backend: openai\n  model: m\n  {line}\n", encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        load_models(path, (), {"KEY": "sk-0123456789"})
    assert str(caught.value).startswith(f"{path}:4: ")
    assert problem in str(caught.value)


def test_an_address_and_a_key_from_variables_are_no_mistakes(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    text = "m: {backend: openai, model: m, base_url: 'https://${HOST}/v1', api_key: ${KEY}, extra: {a: {b: [1, x]}}}\n"
    path.write_text(text, encoding="utf-8")
    for environment in ({}, {"HOST": "host", "KEY": "$ecret${0}"}):
        [entry] = load_models(path, (), environment)
        assert entry.ready is bool(environment)
