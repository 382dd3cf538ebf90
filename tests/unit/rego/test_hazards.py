"""What regopy's virtual machine gets wrong, crashes or hangs over, one case after the other.

The engine takes its compiler only; each case must end here as in OPA, or with an error that tells
what is wrong, without the process or a worker being lost. Further tests of the same kind:
test_limits.py (input, steps), builtins/test_limits.py (builtins), test_compiler.py (the child).
"""

import threading
import time

import pytest

from gateway.rego import CompileError, EvalError, Policy, compile as compile_rego
from gateway.rego.errors import StepLimitExceeded
from tests.support.rego import NOW, decide, program

SECONDS = 2.0
"""Far more than any of these takes, far less than what hangs."""


def _nested(depth):
    made = 1
    for _ in range(depth):
        made = [made]
    return made


REFUSED = {
    "missing builtin: http.send": ('p := http.send({"url": "x"})', "http.send"),
    "missing builtin: graphql": ('p := graphql.is_valid("{a}", "x")', "graphql.is_valid"),
    "missing builtin: aws": ("p := providers.aws.sign_req({}, {}, 1)", "providers.aws.sign_req"),
    "missing builtin: rego.parse_module": ('p := rego.parse_module("a", "")', "parse_module"),
    "missing builtin: net.lookup_ip_addr": ('p := net.lookup_ip_addr("x")', "lookup_ip_addr"),
    "unsafe variable in a negation": ("p if { not typo }", "typo"),
    "unsafe variable": ("p if { x > 1 }", "x"),
    "recursion": ("p if q\nq if p", "recursion"),
    "recursion of a function": ("p := f(1)\nf(x) := f(x)", "recursion"),
    "unknown function": ("p := nothing(1)", "nothing"),
    "arity of a builtin": ("p := count(1, 2, 3)", "count"),
    "arity of a function": ("p := f(1)\nf(x, y) := 1", "f"),
    "no argument": ("p := count()", "count"),
    "double assignment": ("p if { y := 1; y := 2 }", "y"),
    "data shadowed": ("p if { data := 1; data }", "data"),
    "input shadowed": ("p if { input := 1; input }", "input"),
    "data as a rule": ("data := 1", "data"),
    "v0 set": ("deny[x] { x := 1 }", "if"),
    "v0 rule": ("allow { input.x }", "if"),
    "NUL": ("p := 1 # \0", "NUL"),
    "not Rego": ("p := garbage ((", "policy.rego:3"),
    "a rule with the name of a builtin": ('glob if glob.match("a", [], "a")', "glob"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_at_load(name, capfd):
    source, message = REFUSED[name]
    with pytest.raises(CompileError, match="policy.rego:") as caught:
        program(f"package t\n\n{source}\n")
    assert message in str(caught.value)
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", ""), "parse errors are not printed"


def test_a_garbled_query_is_refused():
    with pytest.raises(CompileError):
        compile_rego({"a.rego": "package t\n\np := 1\n"}, query="garbage ((")


@pytest.mark.parametrize("name", ["../x.rego", "/etc/x.rego", "a/../../x.rego", "..", "C:\\x"])
def test_names_of_modules_are_only_names(name, tmp_path, monkeypatch):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "kept").write_text("kept")
    monkeypatch.chdir(tmp_path / "inner")
    made = compile_rego({name: "package t\n\np := 1\n"})
    assert Policy(made).decide("t/p", None, now=NOW) == 1
    assert {path.name for path in tmp_path.rglob("*")} == {"inner", "kept"}


DECIDED = {
    "text that closes the JSON": (
        "default p := false\np if input.allow",
        {"sub": 'x"},"allow":true,"z":{"a":"'},
        False,
    ),
    "NUL in text": ('p := input.sub == "a"', {"sub": "a\0b"}, False),
    "length of text with NUL": ("p := count(input.sub)", {"sub": "a\0b"}, 3),
    "more than 64 bits": ("p := input.n + 1", {"n": 2**64}, 2**64 + 1),
    "more than 64 bits is no small number": ("p := input.n == 0", {"n": 2**64}, False),
    "escapes of Unicode": ('p := "\\u00e9" == input.x', {"x": "é"}, True),
    "escapes count once": ('p := count("a\\nb")', {}, 3),
    "escaped quotes": ('p := "\\"" == input.x', {"x": '"'}, True),
    "net.cidr_contains": (
        'p := net.cidr_contains("10.0.0.0/8", input.ip)',
        {"ip": "10.1.1.1"},
        True,
    ),
    "json.match_schema": ('p := json.match_schema(input, {"type": "array"})[0]', {}, False),
    "json.verify_schema": ('p := json.verify_schema({"type": "array"})[0]', {}, True),
    "strings.render_template": ('p := strings.render_template("{{.a}}", input)', {"a": "b"}, "b"),
    "order of numbers": ("p := max([9, 10])", {}, 10),
    "order of types": ("p := 100 < false", {}, False),
    "order of members": ("p := [x | some x in {10, 9, true, null}]", {}, [None, True, 9, 10]),
    "undefined argument": ("default p := 0\np := 1 if not input.none < 1", {}, 0),
    "rand.intn of nothing": ('p := rand.intn("a", 0)', {}, 0),
    "replace of nothing": ('p := replace("ab", "", "-")', {}, "-a-b-"),
    "split at nothing": ('p := regex.split("", "ab")', {}, ["a", "b"]),
    "split of nothing": ('p := regex.split("", "")', {}, []),
    "nested repetition": ('p := regex.match("(x+x+)+y", input.x)', {"x": "x" * 5_000}, False),
    "many stars": (
        'p := glob.match("*a*b*c*d*e*f*g*h", [], input.x)',
        {"x": "abcdefg" * 200},
        False,
    ),
}


@pytest.mark.parametrize("name", DECIDED)
def test_decided_like_opa(name):
    source, document, expected = DECIDED[name]
    start = time.process_time()
    assert decide(f"package t\n\n{source}\n", "t/p", document) == expected
    assert time.process_time() - start < SECONDS


ENDED = {
    "nested 20,000 deep": ("p := input", _nested(20_000)),
    "replace of nothing by much": (
        'p := count(replace(input.x, "", input.y))',
        {"x": "x" * 100_000, "y": "y" * 100_000},
    ),
    "split at nothing in a loop": (
        'p := [y | some x in input.xs; y := regex.split("", input.x)]',
        {"xs": [1] * 1_000, "x": "x" * 100_000},
    ),
    "nested repetition in a loop": (
        'p if { some x in input.xs; regex.match("(x+x+)+y", x) }',
        {"xs": ["x" * 100_000] * 1_000},
    ),
    "long texts that are equal, in a loop": (
        "p := [1 | some i in numbers.range(1, 4000); input.xs[i % 2] == input.t]",
        {"xs": [chr(i) + "x" * 400_000 for i in (97, 98)], "t": "a" + "x" * 400_000},
    ),
    "long texts among others, in a loop": (
        "p := [1 | some i in numbers.range(1, 4000); input.xs[i % 2] in input.ts]",
        {"xs": [chr(i) + "x" * 400_000 for i in (97, 98)], "ts": ["x" * 400_001]},
    ),
    "a long key in a loop": (
        'p := [count(json.marshal({"a": input.o, "i": i})) | some i in input.xs]',
        {"o": {"k" * 60_000: 1}, "xs": list(range(4_000))},
    ),
    "order of many fractions": (
        "p := [x | some x in {x | some x in input}]",
        [number + 0.5 for number in range(150_000)],
    ),
    "many stars in a loop": (
        'p if { some x in input.xs; glob.match("*a*b*c*d*e*f*g*h", [], x) }',
        {"xs": ["abcdefg" * 10_000] * 1_000},
    ),
}


@pytest.mark.parametrize("name", ENDED)
def test_ended_by_a_limit(name):
    source, document = ENDED[name]
    policy = Policy(program(f"package t\n\n{source}\n"))
    start = time.process_time()
    with pytest.raises(EvalError, match="steps|nested") as caught:
        policy.decide("t/p", document, now=NOW)
    assert time.process_time() - start < SECONDS
    assert caught.value.code != "internal"
    if "nested 20,000" not in name:
        assert isinstance(caught.value, StepLimitExceeded)


def test_data_does_not_override_rules():
    made = program("package a\n\ndefault allow := false\n")
    with pytest.raises(CompileError, match=r"data\.a\.allow"):
        Policy(made, {"a": {"allow": True}})


def test_threads_share_a_policy():
    policy = Policy(program('package t\n\np := sum([x | some x in input]) + count("a\\nb")\n'))
    seen = []

    def ask(number):
        seen.extend(policy.decide("t/p", [number] * 50, now=NOW) - 50 * number for _ in range(100))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [3] * 400
