"""docs/builtins.md lists what there is."""

import re
from pathlib import Path

import pytest

from gateway.rego import CompileError
from gateway.rego.builtins import BUILTINS, GROUPS, UNSUPPORTED
from tests.support.rego import compile_rego

DOCS = Path(__file__).parents[4] / "docs/builtins.md"
ROW = re.compile(r"^\| (.+?) \| (.+) \|$", re.MULTILINE)


def test_every_builtin_is_in_its_group():
    supported, unsupported = DOCS.read_text().split("## Not supported")
    rows = dict(ROW.findall(supported))
    for group, builtins in GROUPS.items():
        listed = set(re.findall(r"`([^`]+)`", rows.pop(group)))
        named = {b.name for b in builtins if not b.name.startswith("internal.")}
        assert listed == (named or {"print"})
    assert set(rows) == {"group"}
    listed = {name.strip("`"): remedy for name, remedy in ROW.findall(unsupported)}
    assert listed.pop("function") == "instead"
    assert listed == dict(UNSUPPORTED)


def test_no_name_twice():
    assert sum(map(len, GROUPS.values())) == len(BUILTINS)
    assert not BUILTINS.keys() & UNSUPPORTED.keys()


def test_every_builtin_can_be_called():
    calls = []
    for name, builtin in BUILTINS.items():
        if not name.startswith("internal."):
            arguments = ", ".join(f"input.x[{number}]" for number in range(builtin.arity))
            calls.append(f"p{len(calls)} if _ = {name}({arguments})")
    compile_rego({"p.rego": "package p\n" + "\n".join(calls) + "\n"})


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_is_not_supported_says_what_to_do(name):
    with pytest.raises(CompileError) as raised:
        compile_rego({"p.rego": f"package p\np if _ = {name}(input)\n"})
    (problem,) = raised.value.problems
    assert (problem.row, problem.code) == (2, "unsupported-builtin")
    assert problem.remedy == UNSUPPORTED[name]
