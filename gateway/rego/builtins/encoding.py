"""Encodings: JSON, base64, hexadecimal, URL queries."""

from __future__ import annotations

import base64
import binascii
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Final
from urllib.parse import quote_plus, unquote_to_bytes

from gateway.rego.builtins.charges import dear
from gateway.rego.builtins.operands import (
    CHARACTERS_A_STEP,
    COLLECTIONS,
    OperandError,
    answers,
    charge_text,
    charge_value,
    mapping,
    string,
    utf8,
    wrong_type,
)
from gateway.rego.builtins.registry import Builtin, State, charged
from gateway.rego.errors import BuiltinError
from gateway.rego.values import dumps, loads, to_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.rego.values import Value

DECODE_CHARACTERS_A_STEP: Final = 2

WRITE_STEPS: Final = 7
"""What writing one value as JSON costs."""

FRACTION_STEPS: Final = 18
KEY_STEPS: Final = 20
TEXT_A_STEP: Final = 6
EXACT: Final = 2**53

# What Go writes as \uXXXX inside JSON strings, so that HTML may embed it.
_HTML: Final = str.maketrans(
    {char: f"\\u{ord(char):04x}" for char in ("<", ">", "&", "\u2028", "\u2029")}
)


# --- JSON


def json_marshal(state: State, value: Value) -> str:
    """Write JSON; sets become arrays, keys that are no strings their JSON text."""
    _charge_written(state, value)
    return dumps(value).translate(_HTML)


def _charge_written(state: State, value: Value) -> None:
    """Charge for writing JSON: fractions, and keys that are no strings, are dear."""
    charge_value(dear(state, WRITE_STEPS), value)
    pending = [value]
    while pending:
        item = pending.pop()
        kind = item.__class__
        if kind is str:
            state.charge(len(item) // TEXT_A_STEP)
        elif kind is float or kind is Decimal:
            state.charge(FRACTION_STEPS if -EXACT < item < EXACT else 3 * FRACTION_STEPS)
        elif kind is list:
            pending += item
        elif kind in COLLECTIONS:
            text = sum([len(key) for key in item if key.__class__ is str])
            state.charge(KEY_STEPS * sum(key.__class__ is not str for key in item))
            state.charge(text // TEXT_A_STEP if kind is dict else 0)
            pending += item.values()


def json_marshal_with_options(state: State, value: Value, options: Value) -> str:
    """Write JSON, indented where `pretty` says so or `indent` or `prefix` is given."""
    _charge_written(state, value)
    pretty, prefix, indent = _marshal_options(mapping(options, 2))
    if not pretty:
        return dumps(value).translate(_HTML)
    writer = _IndentedWriter(state, indent)
    return prefix + writer.write(to_json(value), "\n" + prefix)


def _marshal_options(options: dict[str, Value]) -> tuple[bool, str, str]:
    for key, item in options.items():
        kind = _OPTIONS.get(key)
        if kind is None:
            raise OperandError("operand 2 object contained unknown key")
        if item.__class__ is not kind:
            raise OperandError(f"operand 2 key {key} failed cast to {kind.__name__}")
    pretty = options.get("pretty", "indent" in options or "prefix" in options)
    return pretty, options.get("prefix", ""), options.get("indent", "\t")


_OPTIONS: Final = {"prefix": str, "indent": str, "pretty": bool}


class _IndentedWriter:
    """Writes JSON over several lines, charging for the indentation."""

    def __init__(self, state: State, indent: str) -> None:
        self.state = state
        self.indent = indent

    def write(self, value: Value, line: str) -> str:
        if value.__class__ not in COLLECTIONS or not value:
            return dumps(value).translate(_HTML)
        inner = line + self.indent
        self.state.charge(len(value) * (WRITE_STEPS + len(inner) // CHARACTERS_A_STEP))
        if value.__class__ is list:
            items = [self.write(item, inner) for item in value]
            return f"[{inner}" + f",{inner}".join(items) + f"{line}]"
        pairs = [
            f"{dumps(key).translate(_HTML)}: {self.write(value[key], inner)}"
            for key in sorted(value)
        ]
        return f"{{{inner}" + f",{inner}".join(pairs) + f"{line}}}"


def json_unmarshal(state: State, value: Value) -> Value:
    """Read JSON."""
    text = string(value)
    charge_json(state, text)
    try:
        return loads(text)
    except ValueError as error:
        raise BuiltinError(f"invalid JSON: {error}") from None


def charge_json(state: State, text: str) -> None:
    """Charge for reading JSON: by its length and, roughly, its values and fractions."""
    values, fractions = sum(map(text.count, "[{,:")), sum(map(text.count, ".eE"))
    state.charge(len(text) // 3 + 4 * values + 12 * fractions)


def json_is_valid(state: State, value: Value) -> bool:
    """Tell whether a string is JSON."""
    if value.__class__ is not str:
        return False
    try:
        json_unmarshal(state, value)
    except BuiltinError:
        return False
    return True


# --- base64 and hexadecimal


def text_of(octets: bytes) -> str:
    """Return decoded bytes as a string; each byte that is not UTF-8 becomes U+FFFD, as in Go."""
    return _ESCAPED.sub("\ufffd", octets.decode("utf-8", "surrogateescape"))


_ESCAPED: Final = re.compile("[\udc80-\udcff]")


def base64_bytes(text: str) -> bytes:
    """Decode base64 (RFC 4648 §4), padded; line ends are skipped."""
    text = text.replace("\r", "").replace("\n", "")
    # Python lets a padding follow that completes nothing.
    if len(text) % 4:
        raise BuiltinError("illegal base64 data")
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except (ValueError, binascii.Error):
        raise BuiltinError("illegal base64 data") from None


def base64url_bytes(text: str) -> bytes:
    """Decode base64url (RFC 4648 §5), padded or not; line ends are skipped."""
    if "+" in text or "/" in text:
        raise BuiltinError("illegal base64 data")
    standard = text.translate(_URL_SAFE)
    if not standard.endswith("="):
        # As OPA does, which counts the line ends that are skipped later.
        standard += "=" * (-len(standard) % 4)
    return base64_bytes(standard)


_URL_SAFE: Final = str.maketrans("-_", "+/")


def hex_bytes(text: str) -> bytes:
    """Decode hexadecimal digits, two for each byte."""
    if not _HEX.fullmatch(text):
        raise BuiltinError("encoding/hex: invalid byte or odd length hex string")
    return bytes.fromhex(text)


_HEX: Final = re.compile(r"(?:[0-9a-fA-F]{2})*+")


def _encoder(encode: Callable[[bytes], bytes]) -> Callable[[State, Value], str]:
    def encoded(state: State, value: Value) -> str:
        charge_text(state, text := string(value))
        return encode(utf8(text)).decode()

    return encoded


def _decoder(decode: Callable[[str], bytes]) -> Callable[[State, Value], str]:
    def decoded(state: State, value: Value) -> str:
        text = string(value)
        state.charge(len(text) // DECODE_CHARACTERS_A_STEP)
        return text_of(decode(text))

    return decoded


# --- URL queries

_BAD_ESCAPE: Final = re.compile(r"%(?![0-9a-fA-F]{2})")


def query_encode(state: State, value: Value) -> str:
    """Escape a string for a URL's query."""
    text = string(value)
    state.charge(len(text))
    return _escaped(text)


def _escaped(text: str) -> str:
    return quote_plus(utf8(text))


def query_decode(state: State, value: Value) -> str:
    """Undo the escapes of a URL's query."""
    text = string(value)
    state.charge(len(text))
    return _unescaped(text)


def _unescaped(text: str) -> str:
    if _BAD_ESCAPE.search(text):
        raise BuiltinError("invalid URL escape")
    return text_of(unquote_to_bytes(utf8(text.replace("+", " "))))


def query_encode_object(state: State, value: Value) -> str:
    """Write an object of strings, or arrays or sets of them, as a URL's query."""
    charge_value(state, value)
    if value.__class__ is not dict:
        raise wrong_type(value, 1, "object")
    pairs: list[str] = []
    for key, item in sorted(to_json(value).items()):
        for text in [item] if item.__class__ is str else item if item.__class__ is list else [None]:
            if text.__class__ is not str:
                raise OperandError("operand 1 values must be string, array[string], or set[string]")
            state.charge(30 + len(key) + len(text))
            pairs.append(f"{_escaped(key)}={_escaped(text)}")
    return "&".join(pairs)


def query_decode_object(state: State, value: Value) -> dict[str, list[str]]:
    """Read a URL's query as an object from each name to the array of its values."""
    text = string(value)
    state.charge(len(text))
    parameters: dict[str, list[str]] = {}
    for pair in text.split("&"):
        state.charge(16)
        if ";" in pair:
            raise BuiltinError("invalid semicolon separator in query")
        if pair:
            name, _, item = pair.partition("=")
            parameters.setdefault(_unescaped(name), []).append(_unescaped(item))
    return parameters


BUILTINS: Final[tuple[Builtin, ...]] = (
    charged("json.marshal", json_marshal, 1, steps=30),
    charged("json.marshal_with_options", json_marshal_with_options, 2),
    charged("json.unmarshal", json_unmarshal, 1, steps=25),
    charged("json.is_valid", json_is_valid, 1, steps=25),
    charged("base64.encode", _encoder(base64.b64encode), 1, steps=16),
    charged("base64.decode", _decoder(base64_bytes), 1, steps=10),
    charged("base64.is_valid", answers(base64_bytes), 1),
    charged("base64url.encode", _encoder(base64.urlsafe_b64encode), 1, steps=16),
    charged(
        "base64url.encode_no_pad",
        _encoder(lambda octets: base64.urlsafe_b64encode(octets).rstrip(b"=")),
        1,
        steps=16,
    ),
    charged("base64url.decode", _decoder(base64url_bytes), 1, steps=10),
    charged("hex.encode", _encoder(binascii.hexlify), 1, steps=16),
    charged("hex.decode", _decoder(hex_bytes), 1, steps=10),
    charged("urlquery.encode", query_encode, 1, steps=10),
    charged("urlquery.decode", query_decode, 1),
    charged("urlquery.encode_object", query_encode_object, 1, steps=30),
    charged("urlquery.decode_object", query_decode_object, 1),
)
