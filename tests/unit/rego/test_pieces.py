"""Large modules go to the compiler in pieces, which changes nothing but the time it takes."""

import pytest

from gateway.rego import CompileError, Policy, compile as compile_rego, pieces
from gateway.rego.source import read_modules
from tests.support.rego import NOW

MODULE = """package a # é
import data.b as other

default p := 0
p := 1 if input.x == "é"
p := 2 if input.x == other.y
else := 3 if {
	input.x == 4
}
f(_) := 1 if q[_] == "é"
import data.c
f(_) := f(_) if false
q := ["é", "x"]
r := c.z
"""


@pytest.fixture
def by_rule(monkeypatch):
    monkeypatch.setattr(pieces, "PIECE", 1)
    monkeypatch.setattr(pieces, "MOST_PIECES", 1 << 20)


def test_small_modules_stay_whole():
    (source,) = read_modules({"a.rego": MODULE}, ())
    assert pieces.pieces(source) == [source.prepared]


@pytest.mark.usefixtures("by_rule")
def test_each_byte_stays_in_its_place():
    (source,) = read_modules({"a.rego": MODULE}, ())
    whole = source.prepared.encode()
    made = [piece.encode() for piece in pieces.pieces(source)]
    assert len(made) == 7
    for piece in made:
        assert piece.startswith(whole[: whole.index(b"default")])
        pairs = list(zip(whole, piece, strict=False))
        assert all(one == other or other == ord(" ") for one, other in pairs)
    ends = [len(piece) for piece in made]
    assert ends == sorted(ends)
    assert ends[-1] == len(whole)
    for position, byte in enumerate(whole):
        if not chr(byte).isspace():
            assert any(piece[position : position + 1] == bytes([byte]) for piece in made)


@pytest.mark.usefixtures("by_rule")
def test_places_are_those_of_the_whole():
    text = MODULE.replace("f(_) := f(_) if false\n", "").replace("q := [", "s := 1 if é\nq := [")
    with pytest.raises(CompileError) as raised:
        compile_rego({"a.rego": text.replace("if é", "if unknown(1)")})
    assert [(each.row, each.col) for each in raised.value.problems] == [(12, 11)]
    with pytest.raises(CompileError) as raised:
        compile_rego({"a.rego": text.replace("if é", 'if ["é", x for x in y]')})
    assert {each.row for each in raised.value.problems} == {12}


def test_many_rules_decide_as_few():
    rules = "".join(f'p contains {n} if input.x == "é{n}"\n' for n in range(1_000))
    text = f"package a\n{rules}q if input.x in p # the end\n"
    (source,) = read_modules({"a.rego": text}, ())
    assert len(pieces.pieces(source)) > 3
    policy = Policy(compile_rego({"a.rego": text}))
    assert list(policy.decide("a/p", {"x": "é999"}, now=NOW).values()) == [999]
    assert policy.program.places["a", "q"] == ("a.rego", 1_002)
