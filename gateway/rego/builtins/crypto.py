"""Hashes and message authentication codes."""

from __future__ import annotations

import hashlib
import hmac
from functools import partial
from typing import TYPE_CHECKING, Final

from gateway.rego.builtins.operands import charge_text, string, utf8
from gateway.rego.builtins.registry import Builtin, State, charged

if TYPE_CHECKING:
    from gateway.rego.values import Value


def _digest(name: str, state: State, value: Value) -> str:
    charge_text(state, text := string(value))
    # Policies compare fingerprints of old systems: MD5 and SHA-1 are no security claim here.
    return hashlib.new(name, utf8(text), usedforsecurity=False).hexdigest()


def _mac(name: str, state: State, value: Value, key: Value) -> str:
    text, secret = string(value), string(key, 2)
    charge_text(state, text, secret)
    return hmac.new(utf8(secret), utf8(text), name).hexdigest()


def mac_equal(state: State, left: Value, right: Value) -> bool:
    """Compare two codes in a time that does not tell where they differ."""
    first, second = string(left), string(right, 2)
    charge_text(state, first, second)
    return hmac.compare_digest(utf8(first), utf8(second))


BUILTINS: Final[tuple[Builtin, ...]] = (
    charged("crypto.md5", partial(_digest, "md5"), 1, steps=15),
    charged("crypto.sha1", partial(_digest, "sha1"), 1, steps=15),
    charged("crypto.sha256", partial(_digest, "sha256"), 1, steps=15),
    charged("crypto.hmac.md5", partial(_mac, "md5"), 2, steps=30),
    charged("crypto.hmac.sha1", partial(_mac, "sha1"), 2, steps=30),
    charged("crypto.hmac.sha256", partial(_mac, "sha256"), 2, steps=30),
    charged("crypto.hmac.sha512", partial(_mac, "sha512"), 2, steps=30),
    charged("crypto.hmac.equal", mac_equal, 2, steps=10),
)
