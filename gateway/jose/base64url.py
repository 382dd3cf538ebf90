"""Base64url without padding (RFC 7515 §2), in its one canonical spelling."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from binascii import a2b_base64

_TO_STANDARD = bytes.maketrans(b"-_", b"+/")


def encode(raw: bytes) -> bytes:
    """The encoding of `raw`."""
    return urlsafe_b64encode(raw).rstrip(b"=")


def decode(text: bytes) -> bytes:
    """What `text` encodes; ValueError unless `text` is exactly its encoding.

    That refuses padding, blanks, foreign alphabets and non-zero unused bits at once.
    """
    raw = a2b_base64(text.translate(_TO_STANDARD) + b"=" * (-len(text) % 4))
    if encode(raw) != text:
        raise ValueError("not canonical base64url")
    return raw
