"""What source is accepted and what it means, compared with OPA itself.

The corpus is bodies and rules (a line each, `\\n` in rules stands for a new line), which get a
module around them, and whole modules (between lines of `=====`). Each body is tried in one of
several places.
"""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from gateway.rego.children import Children
from gateway.rego.compiler import Unit, compile_all
from tests.support.agreement import difference
from tests.support.opa import needs_opa, opa

if TYPE_CHECKING:
    from collections.abc import Iterator


pytestmark = needs_opa

FOLDER = Path(__file__).parent
KNOWN = yaml.safe_load((FOLDER / "opa_source_known.yaml").read_text())

INPUTS = [
    None,
    {
        "a": 1,
        "b": {"c": [1, 2, 3], "d": "x"},
        "xs": ["a", "b", "a"],
        "ys": ["b", "c"],
        "n": 5,
        "f": False,
        "nul": None,
        "s": "hello world",
        "m": {"k": ["a"], "l": ["z", "b"]},
        "d": {"a": 1, "b": 2},
        "users": [
            {"name": "alice", "roles": ["admin", "dev"], "age": 30},
            {"name": "bob", "roles": [], "age": 17},
        ],
        "if": 7,
        "default": 8,
        "x-y": 9,
        "pairs": [["a", 1], ["b", 2], ["c", 1]],
        "grid": [[1, 2], [3, 4]],
        "i": 1,
    },
    {"a": 2, "b": {"c": []}, "xs": [], "n": -1, "f": True, "s": "", "m": {}, "users": [], "d": {}},
]
DATA = {
    "base": {
        "roles": {"admin": ["read", "write"], "dev": ["read"]},
        "nums": [3, 1, 2],
        "cfg": {"on": True, "off": False, "lim": 10},
        "names": {"alice": {"team": "x"}, "bob": {"team": "y"}},
    }
}
HELP = """
f(x) := [x, x + 1]
g(x) := {"y": x + 1}
g2(x) := {"y": 7}
q(x) if x == input.a
r := input.a
s contains "foo"
s contains "baz"
o.a := 1
o.b := 2
o.c.z := 1
cnt(_) := 5
nested.deep.val := 77
y_in(x) if x in input.ys
"""
_NEEDS_HELP = re.compile(r"\b(?:[fgq]\(|g2|[rso]\b|cnt|nested|y_in|data\.t\b|data\[)")
PLACES = (
    "p if {{ {} }}",
    "p if {}",
    "p := [1 | {}]",
    "p if {{\n\t{}\n}}",
    "p if every each in [1, 2] {{ each > 0; {} }}",
    "p if {{ false }} else := 3 if {{ {} }}",
    "fun(xx) := [xx, 3] if {{ {} }}\np := fun(1)",
    "p contains 1 if {{ {} }}",
)
"""Where a body can stand."""


def _bodies() -> Iterator[str]:
    texts = (FOLDER / "opa_source_bodies.txt").read_text().splitlines()
    for text, place in zip(texts, itertools.cycle(PLACES)):
        body = text.replace("; ", "\n\t") if "\n\t{}" in place else text
        yield _helped(f"package t\n{place.format(body)}\n")


def _rules() -> Iterator[str]:
    for text in (FOLDER / "opa_source_rules.txt").read_text().splitlines():
        yield _helped("package t\n" + text.replace("\\n", "\n") + "\n")


def _helped(text: str) -> str:
    return text + HELP if _NEEDS_HELP.search(text) else text


def _modules() -> Iterator[str]:
    yield from (FOLDER / "opa_source_modules.txt").read_text()[:-1].split("\n=====\n")


def _written() -> Iterator[str]:
    """Yield modules whose blanks and line ends are what matters."""
    text = "package t\nimport data.base\n# one\np := x if { # two\n\tx := input.a\n\n\tx == 1\n} # three\n"
    yield text.replace("\n", "\r\n")
    yield text.removesuffix("\n")
    yield "\ufeff" + text
    yield text.replace("\t", " \t ")
    yield "\n\n" + text
    yield "# before\n" + text + "# behind"


CORPUS = {"bodies": _bodies, "rules": _rules, "modules": _modules, "written": _written}


@pytest.mark.parametrize("part", CORPUS)
def test_source_means_what_it_means_to_opa(part: str) -> None:
    wrong = {_short(text): why for text, why in _differences(list(CORPUS[part]()))}
    assert not {text: why for text, why in wrong.items() if text not in KNOWN}
    listed = set(KNOWN) & set(map(_short, CORPUS[part]()))
    assert listed <= set(wrong), "agrees now: take it off opa_source_known.yaml"


def _short(text: str) -> str:
    return text.removesuffix(HELP).rstrip("\n")


def test_every_known_difference_is_in_the_corpus() -> None:
    assert set(KNOWN) <= {_short(text) for part in CORPUS.values() for text in part()}


def _differences(texts: list[str]) -> Iterator[tuple[str, str]]:
    children = Children()
    with opa() as process:
        for start in range(0, len(texts), 60):
            some = texts[start : start + 60]
            units = [Unit(modules={"a.rego": text}) for text in some]
            for text, made in zip(some, compile_all(units, children=children), strict=True):
                why = difference(process, {"a.rego": text}, made, INPUTS, DATA)
                if why:
                    yield text, why
