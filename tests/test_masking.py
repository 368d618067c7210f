"""Secrets are found in every encoding in which a server may echo them."""

from __future__ import annotations

import base64
import binascii
import html
import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.secrets import SHORTEST_IN_ANSWERS, in_url, masked

KEY = 'sk-p/lan+ted "0123=4 ü&9'


@pytest.mark.parametrize("before", ["", "a", "ab", "user:", "Authorization: Bearer "])
@pytest.mark.parametrize(
    "written",
    [
        KEY,
        quote(KEY),
        quote(KEY, safe=""),
        quote(KEY, safe="").lower(),
        quote(quote(KEY, safe=""), safe=""),
        quote_plus(KEY),
        json.dumps(KEY),
        json.dumps(json.dumps(KEY)),
        html.escape(KEY),
        KEY.encode().hex(),
        KEY.encode().hex(":"),
        KEY.encode().hex(" ").upper(),
    ],
)
def test_a_secret_is_masked_however_it_is_written(before: str, written: str) -> None:
    found = masked(f"{before}{written} rest", (KEY,))
    assert found.startswith(before)
    assert found.count("***") == 1
    assert "lan" not in found
    assert found.endswith(" rest")


@given(st.text(alphabet="abcdef:ü ", max_size=7), st.text(alphabet="abcdef:ü ", max_size=7))
def test_a_secret_inside_base64_is_masked(before: str, after: str) -> None:
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        found = masked(encode(f"{before}{KEY}{after}".encode()).decode(), (KEY,))
        assert "***" in found
        left = "".join(character for character in found if character != "*")
        assert len(left) <= 2 + 4 * (len(before.encode()) + len(after.encode()) + 4) // 3 + 4


@pytest.mark.parametrize("before", ["", "a", "ab", "abc", "abcd", "user:"])
@pytest.mark.parametrize("after", ["", "x", "xyz"])
@pytest.mark.parametrize("names", ["b32", "b64 b64", "hex b64", "b64 hex", "hex hex"])
def test_a_secret_is_masked_in_base32_and_encoded_twice(before: str, after: str, names: str) -> None:
    encode = {"b32": base64.b32encode, "b64": base64.b64encode, "hex": binascii.hexlify}
    key = "sk-proj-4tE9/x+Qz-1234567890"
    data, growth = f"{before}{key}{after}".encode(), 1.0
    for name in names.split():
        data, growth = encode[name](data), growth * {"b32": 8 / 5, "b64": 4 / 3, "hex": 2}[name]
    text = data.decode()
    for shown in (text, text.lower()) if names == "b32" else (text,):
        found = masked(f"echo {shown} end", (key,))
        assert found.count("***") == 1
        left = found.removeprefix("echo ").removesuffix(" end").replace("***", "")
        # What stands around it, the characters that hold a part of both, and padding.
        assert len(left) <= growth * (len(before) + len(after)) + 12 < len(text)


@given(st.text(), st.lists(st.text(max_size=30)))
def test_no_secret_is_left_in_any_text(text: str, secrets: list[str]) -> None:
    found = masked(text + "".join(secrets), secrets)
    assert not any(len(secret) >= 4 and "*" not in secret and secret in found for secret in secrets)


def test_a_short_key_does_not_change_answers() -> None:
    assert masked("EMPTY is a key", ("EMPTY",)) == "*** is a key"
    assert masked("EMPTY is a key", ("EMPTY",), SHORTEST_IN_ANSWERS) == "EMPTY is a key"


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("http://me:hunter22@h/v1?key=abcdefgh&n=1", {"hunter22", "abcdefgh"}),
        ("http://sk-a-long-key@h", {"sk-a-long-key", ""}),
        ("http://u:p%40ssword@h", {"p%40ssword", "p@ssword"}),
        ("http://[broken", set()),
    ],
)
def test_a_url_holds_passwords_and_long_values(url: str, found: set[str]) -> None:
    assert set(in_url(url)) == found
