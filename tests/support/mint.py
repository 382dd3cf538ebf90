"""Tokens as a case describes them: good ones, and those of an attacker."""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from gateway.jose import base64url
from gateway.jose.sign import sign_bytes
from tests.support.tables import merge
from tests.support.tokens import key


@dataclass(frozen=True, kw_only=True)
class Token:
    """A compact token to be made.

    `key` names who signs: one of `keys`, `none`, or a file whose `contents` are the secret of an
    HS256. `header` changes the usual one. `raw_header` and `raw_claims` are JSON members written
    behind the others; `encoding` is that of the claims. After signing, `forged_header` and
    `forged_claims` are changed and `mangle` is done to the text. `text` is sent instead of all
    that.
    """

    keys: Mapping[str, str]
    contents: Callable[[str], bytes]
    key: str
    claims: Mapping[str, Any]
    header: Mapping[str, Any] = field(default_factory=dict)
    raw_header: str = ""
    raw_claims: str = ""
    encoding: str = "utf-8"
    forged_header: Mapping[str, Any] | None = None
    forged_claims: Mapping[str, Any] | None = None
    mangle: str = ""
    text: str | None = None

    def mint(self) -> str:
        """The token's text."""
        if self.text is not None:
            return self.text
        whole = merge(self._usual_header(), self.header)
        header = _json(whole, self.raw_header).encode()
        claims = _json(self.claims, self.raw_claims).encode(self.encoding)
        signature = self._sign(header, claims)
        if self.forged_header is not None:
            header = _json(merge(whole, self.forged_header)).encode()
        if self.forged_claims is not None:
            claims = _json(merge(self.claims, self.forged_claims)).encode()
        text = (b".".join(map(base64url.encode, (header, claims))) + b"." + signature).decode()
        return MANGLES[self.mangle](text) if self.mangle else text

    def _usual_header(self) -> dict[str, Any]:
        if self.key == "none":
            return {"alg": "none"}
        return {"alg": self.keys.get(self.key, "HS256"), "kid": self.key}

    def _sign(self, header: bytes, claims: bytes) -> bytes:
        if self.key == "none":
            return b""
        if self.key in self.keys:
            return _signature(self.keys[self.key], self.key, header, claims)
        signed = b".".join(map(base64url.encode, (header, claims)))
        return base64url.encode(hmac.digest(self.contents(self.key), signed, "sha256"))


@cache
def _signature(algorithm: str, name: str, header: bytes, claims: bytes) -> bytes:
    # Kept, because ECDSA makes another one each time, and a token may be sent again.
    return sign_bytes(header, claims, key(algorithm, name)).rpartition(".")[2].encode()


def _json(value: Mapping[str, Any], more: str = "") -> str:
    text = json.dumps(value)
    return f"{text[:-1]}, {more}}}" if more else text


ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def _changed(change: Callable[[str], str]) -> Callable[[str], str]:
    def mangle(text: str) -> str:
        signed, _, signature = text.rpartition(".")
        return f"{signed}.{change(signature)}"

    return mangle


MANGLES: dict[str, Callable[[str], str]] = {
    "a bit of the signature": _changed(lambda made: ("B" if made[0] == "A" else "A") + made[1:]),
    # 64 bytes are 86 letters; the last one has four bits that mean nothing.
    "unused bits": _changed(lambda made: made[:-1] + ALPHABET[ALPHABET.index(made[-1]) | 1]),
    "the last byte of the signature": _changed(lambda made: made[:84]),
    "no signature": _changed(lambda _: ""),
    "a signature of zeros": _changed(lambda made: "A" * len(made)),
    "padding": _changed(lambda made: made + "=="),
    "another alphabet": _changed(lambda made: "+" + made[1:]),
    "a line break": _changed(lambda made: made[:9] + "\n" + made[9:]),
    "two parts": lambda text: text.rpartition(".")[0],
    "four parts": lambda text: f"{text}.e30",
    "five parts": lambda text: f"{text}.e30.e30",
    "quotes": lambda text: f'"{text}"',
}
"""What an attacker does to the text of a good token."""
