"""Secrets in what is written and printed: found in every encoding in which a server may echo them, and masked."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from urllib.request import getproxies

MASK = "***"
SHORTEST = 4
"""Characters of the shortest text that is masked: to blot out "1" would spoil every message."""
SHORTEST_IN_ANSWERS = 8
"""The same in a model's answers, which a key such as "test" must not change; shorter ones are not encoded either."""


def masked(text: str, secrets: Sequence[str], shortest: int = SHORTEST) -> str:
    """Return a text in which each secret of at least `shortest` characters is `MASK`.

    Found are secrets as they are and in one case, percent-encoded, as JSON or HTML writes them, also in part; in
    hexadecimal; and in Base64 and Base32, also as a part of something longer, such as a whole header. What is in
    hexadecimal or Base64 is found in these once more.
    """
    found = _pattern(tuple(secrets), shortest, _MARKS.search(text) is not None)
    text = text if found is None else found.sub(MASK, text)
    for rare in _rare(tuple(secrets)):  # too many for the pattern, which would be slow
        if rare in text:
            text = text.replace(rare, MASK)
    return text


def usable(values: Iterable[str | None]) -> tuple[str, ...]:
    """Return those values that are long enough to be kept secret, each once, without white space around them."""
    stripped = (value.strip() for value in values if value)
    return tuple(dict.fromkeys(value for value in stripped if len(value) >= SHORTEST))


def in_url(url: str) -> list[str]:
    """Return what a URL holds that may be secret: user and password, and long values of its query; decoded, too."""
    try:
        parts = urlsplit(url)
    except ValueError:  # what is wrong with it is said where it is used
        return []
    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    found = [password] if password and len(user) < SHORTEST_IN_ANSWERS else [user, password]
    found += [value for _, value in parse_qsl(parts.query) if len(value) >= SHORTEST_IN_ANSWERS]
    return [form for text in found for form in (text, unquote(text))]


def of_proxies() -> list[str]:
    """Return the users and passwords in the URLs of the environment's proxies."""
    return [secret for proxy in getproxies().values() for secret in in_url(proxy if "://" in proxy else f"//{proxy}")]


# Without one of these a text spells no letter or digit in another way, and is looked through faster.
_MARKS = re.compile(r"%[0-9A-Fa-f]{2}|&#|\\[ux][0-9A-Fa-f]{2}|\0", re.ASCII)


@lru_cache(128)
def _pattern(secrets: tuple[str, ...], shortest: int, marked: bool) -> re.Pattern[str] | None:
    texts = {form for secret in secrets if len(secret) >= shortest for form in (secret, *_encoded(secret))}
    longest_first = sorted(texts, key=lambda text: (-len(text), text))
    between = "\0?" if marked else ""  # UTF-16, read as something else
    spelt = [between.join(_spelt(character, marked) for character in text) for text in longest_first]
    return re.compile("|".join(spelt)) if texts else None


@lru_cache(512)
def _spelt(character: str, marked: bool) -> str:
    """Return a pattern for a character however a URL, JSON or HTML may spell it; a letter in its ways if `marked`."""
    if character.isascii() and character.isalnum():
        code = ord(character)
        ways = f"%(?:25)?{code:02x}|&#0*{code};|&#x0*{code:x};|\\\\u00{code:02x}|\\\\x{code:02x}"
        return f"(?:{character}|(?i:{ways}))" if marked else character
    once = json.dumps(character)[1:-1]
    percent = quote(character, safe="", errors="replace")
    if len(percent) == 1:
        percent = f"%{ord(character):02X}"
    hexadecimal = f"{ord(character):02x}"
    unicode = f"\\u{ord(character):04x}" if ord(character) < 0x10000 else once
    forms = {character, once, json.dumps(once)[1:-1], html.escape(character), f"&#{ord(character)};", f"\\{character}"}
    forms |= {
        f"{mark}{one}{end}" for mark, end in (("&#x", ";"), ("\\x", "")) for one in (hexadecimal, hexadecimal.upper())
    }
    forms |= {percent, percent.lower(), percent.replace("%", "%25"), percent.lower().replace("%", "%25")}
    forms |= {unicode, unicode.upper().replace("\\U", "\\u")} | ({"+"} if character == " " else set())
    return f"(?:{'|'.join(re.escape(form) for form in sorted(forms, key=len, reverse=True))})"


def _encoded(secret: str) -> set[str]:
    """Return a secret in one case, in hexadecimal, and in Base64."""
    return {secret.upper(), secret.lower(), *_once(_data(secret))} if len(secret) >= SHORTEST_IN_ANSWERS else set()


@lru_cache(128)
def _rare(secrets: tuple[str, ...]) -> tuple[str, ...]:
    """Return the secrets in hexadecimal with marks between, in Base32, and in hexadecimal or Base64 twice."""
    found: set[str] = set()
    for data in (_data(secret) for secret in secrets if len(secret) >= SHORTEST_IN_ANSWERS):
        found |= {case for mark in ": -" for case in (data.hex(mark), data.hex(mark).upper())}
        found |= {case for text in _inside(data, base64.b32encode, 5) for case in (text, text.lower())}
        found |= {twice for text in _once(data) for twice in _once(text.encode())}
    return tuple(sorted(found, key=lambda text: (-len(text), text)))


def _data(secret: str) -> bytes:
    return secret.encode("utf-8", "surrogatepass")


def _once(data: bytes) -> set[str]:
    found = _inside(data, base64.b64encode, 6)
    return {data.hex(), data.hex().upper(), *found, *(text.replace("+", "-").replace("/", "_") for text in found)}


def _inside(data: bytes, encode: Callable[[bytes], bytes], bits: int) -> set[str]:
    """Return what of an encoding, of this number of bits a character, is the same whatever stands around the data."""
    found = set()
    for before in range(bits if bits % 2 else bits // 2):
        text = encode(b"\0" * before + data).decode()
        # Characters that hold a bit of something else are left out.
        found.add(text[-(-before * 8 // bits) : (before + len(data)) * 8 // bits])
    return found
