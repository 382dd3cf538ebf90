"""Values and decision states for tests of the engine's builtins."""

from decimal import Decimal

from hypothesis import strategies as st

from gateway.rego.errors import StepLimitExceeded
from gateway.rego.values import RegoSet, key_form, make_set


class Work:
    """A decision's state with a step budget; `used` counts what was charged."""

    def __init__(self, limit=1_000_000, now_ns=1_700_000_000_123_456_789):
        self.limit = limit
        self.used = 0
        self.now_ns = now_ns
        self.memo = {}
        self.lines = []
        self.strict = True

    def charge(self, steps):
        assert steps >= 0
        self.used += steps
        if self.used > self.limit:
            raise StepLimitExceeded("the policy takes too many steps")

    def print(self, text):
        self.lines.append(text)


def call(name, *arguments, limit=1_000_000, state=None):
    """Call a builtin as generated code would."""
    from gateway.rego.builtins import BUILTINS

    builtin = BUILTINS[name]
    assert len(arguments) == builtin.arity
    if builtin.needs_state:
        return builtin.function(state or Work(limit), *arguments)
    return builtin.function(*arguments)


def rego_set(*members):
    return make_set(members)


TELLING_TEXTS = [
    "", "a", "A", ".", "*", "é", "ß", "\u0130", "日本", "\U0001f600", "\x00", "\ud800", "\n", "%",
    "%d", "%s %v", "%-010.3f|%[2]*.[1]*f", "%1000000000d", "%!", "%[", "%[0]d", "%*d", "%.*d",
    "0", "1", "-1", "+5", "0.5", "1e5", "1e999999999", "nan", "inf", "0x10", "9" * 5000,
    "a.b.c", "/a/b", "a/~1/~0", "/", "//", "-", "a*", "a?b", "[a-z]", "[!a]", "{a,b}", "{", "[", "\\",
    "(a+)+$", "(?P<x>a)(b)?", "a|b", "(", "[[:alpha:]]", "\\p{L}{3}", "x{1000}", "$1 ${x} $$ $",
    "10.0.0.0/8", "10.0.0.1", "::1/64", "::ffff:10.0.0.1", "fe80::1%eth0", "0.0.0.0/0", "1.2.3.4/33",
    '{"a": [1, 2.5, null]}', "[1,", "[" * 200, "null", '"\\ud800"', '{"type": "string"}', "NaN",
    '{"$ref": "#"}', '{"keys": [5]}', '{"kty": "oct", "k": ""}', '{"kty": "RSA", "n": 5, "e": []}',
    "a: 1\nb: [x, y]", "a: &a [*a]", "- - -", "{a: {b: c}}", "<<: 5", "? [a]\n: b", "!!binary x", "...",
    "YQ==", "YQ", "_-", "====", "eyJhbGciOiJIUzI1NiJ9.e30.", "a.b.c", "e30.e30.e30",
    "2006-01-02T15:04:05Z", "2023-02-30T00:00:00Z", "Mon Jan _2 15:04:05 MST 2006", "15:04", "0000",
    "1h30m", "1.5.5s", "-0", "UTC", "Europe/Berlin", "../../etc/passwd", "Local", "America",
    "1.2.3", "1.2.3-rc.1+b", "01.2.3", "10Gi", "5m", "1e7x", "1.2.3Ki", "e", "100%",
    "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "a=b&a=c&d", "%zz", "a;b", "https://u:p@h:80/p?q#f",
    "mailto:x", "http://[::1", ":", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
    "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----", "MAA=", "-----BEGIN",
    "{{.a}}", "{{range .}}x{{end}}", "{{if eq .a 1}}y{{else}}n{{end}}", "{{", "{{printf \"%d\" .a}}",
]  # fmt: skip

TELLING_NUMBERS = [
    0, 1, -1, 2, 3, 7, 8, 10, 16, 64, 255, 2**31, 2**63, -(2**63), 2**64, 10**30, 10**3999,
    1_700_000_000_000_000_000, 0.5, -0.0, 1.5, 1e23, 1e300, 5e-324, 2.0**53,
    Decimal("0.1000000000000000000001"), Decimal("1E+999999"), Decimal("1E-999999"),
]  # fmt: skip

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from(TELLING_NUMBERS),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
    st.sampled_from(TELLING_TEXTS),
)


def _composites(inner):
    return st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.one_of(st.text(max_size=3), st.sampled_from(TELLING_TEXTS)), inner, max_size=4
        ),
        st.lists(st.tuples(inner, inner), max_size=3).map(
            lambda pairs: {key_form(key): value for key, value in pairs}
        ),
        st.lists(inner, max_size=4).map(make_set),
    )


values = st.recursive(scalars, _composites, max_leaves=12)

patches = st.fixed_dictionaries(
    {
        "op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test"]),
        "path": st.one_of(st.sampled_from(["", "/a", "/a/0", "/0", "/-", "/a/b"]), values),
        "value": values,
        "from": st.sampled_from(["", "/a", "/0"]),
    }
)


def exact(value):
    """Turn a value into something that is equal only for the same types and members."""
    if isinstance(value, dict):
        return value.__class__, {key: exact(item) for key, item in value.items()}
    if isinstance(value, list):
        return list, list(map(exact, value))
    return value.__class__, value


def is_value(value):
    """Tell whether `value` is made of Rego's types only."""
    kind = value.__class__
    if kind is list:
        return all(map(is_value, value))
    if kind is RegoSet:
        return all(is_value(member) and key_form(member) == form for form, member in value.items())
    if kind is dict:
        from gateway.rego.values import from_key_form

        return all(is_value(item) and is_value(from_key_form(key)) for key, item in value.items())
    return kind in (type(None), bool, int, float, Decimal, str)
