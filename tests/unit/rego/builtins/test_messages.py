"""Messages of builtins are written for people who write policies, not Python."""

import pytest

from gateway.rego import EvalError
from tests.support.rego import decide

MESSAGES = {
    'regex.match("a(b", "x")': "error parsing regexp: missing ): a(b",
    'regex.split(`\\`, "x")': "error parsing regexp: trailing \\",
    'json.unmarshal("{")': "invalid JSON: Expecting property name at line 1, column 2",
    'json.unmarshal(`{"a": "b}`)': "invalid JSON: Unterminated string at line 1, column 7",
    'json.unmarshal("1 2")': "invalid JSON: Extra data at line 1, column 3",
    'yaml.unmarshal("- x\\n y: 1")': "yaml: mapping values are not allowed in this context at line 2, column 3",
    'time.parse_ns("2006-01-02", "x")': 'parsing time: cannot parse "x"',
    'io.jwt.verify_rs256("e30.e30.", "{}")': "failed to parse a JWK key (set): it has no `kty`",
    'io.jwt.verify_rs256("e30.e30.", "{")': "failed to parse a JWK key (set): Expecting property name at line 1, column 2",
    'io.jwt.verify_rs256("e30.e30.", "-----BEGIN PUBLIC KEY-----\\nAA==\\n-----END PUBLIC KEY-----\\n")': "failed to parse a JWK key (set): no key of a known kind can be read",
    'crypto.x509.parse_certificate_request("AAAA")': "asn1: structure error: malformed certificate request",
}  # fmt: skip


@pytest.mark.parametrize("call", MESSAGES)
def test_message(call):
    with pytest.raises(EvalError) as caught:
        decide(f"package t\np := {call}", "t/p")
    assert str(caught.value) == MESSAGES[call]
