"""Every builtin is total: for any values it answers, or refuses, within its budget."""

import copy

import pytest
from hypothesis import given, settings, strategies as st

from gateway.rego.builtins import BUILTINS
from gateway.rego.errors import BuiltinError, StepLimitExceeded
from gateway.rego.values import UNDEFINED, make_set
from tests.support.rego_values import (
    TELLING_NUMBERS,
    TELLING_TEXTS,
    Work,
    exact,
    is_value,
    patches,
    scalars,
    values,
)

BUDGET = 200_000

texts = st.one_of(st.sampled_from(TELLING_TEXTS), st.text(max_size=30))
numbers = st.one_of(st.sampled_from(TELLING_NUMBERS), st.integers(-9, 9), st.floats(-9, 9))
members = st.one_of(scalars, st.sampled_from(["a", "b", 0, 1, True]))
arrays = st.lists(members, max_size=5)
objects = st.dictionaries(st.sampled_from(["a", "b", "op", "0", "alg"]), values, max_size=4)
sets = st.lists(members, max_size=4).map(make_set)

KINDS = {
    "s": texts,
    "n": numbers,
    "v": values,
    "a": arrays,
    "o": objects,
    "S": sets,
    "c": st.one_of(arrays, sets),
    "N": st.lists(numbers, max_size=4),
    "t": st.one_of(numbers, st.tuples(numbers, texts, texts).map(list)),
    "T": st.lists(texts, max_size=4),
    "O": st.lists(objects, max_size=4),
    "M": st.lists(sets, max_size=3).map(make_set),
    "g": st.dictionaries(st.sampled_from("abc"), st.lists(st.sampled_from("abcd")), max_size=3),
    "p": st.lists(patches, max_size=4),
    "k": st.fixed_dictionaries({"secret": texts}, optional={"time": numbers, "aud": texts}),
}  # fmt: skip

# The kinds of arguments that each builtin wants; the others want strings only.
WANTED = {
    **{name: "nn" for name in ("plus", "minus", "mul", "div", "rem", "numbers.range")},
    **{name: "nn" for name in BUILTINS if name.startswith("bits.")},
    **{name: "n" for name in ("abs", "round", "ceil", "floor", "bits.negate")},
    **{name: "N" for name in ("sum", "product")},
    **{name: "c" for name in ("count", "max", "min", "sort")},
    **{name: "SS" for name in ("and", "or")},
    **{name: "t" for name in ("time.date", "time.clock", "time.weekday", "time.format")},
    **{name: "aa" for name in ("array.concat", "object.subset")},
    **{name: "a" for name in ("array.reverse", "array.flatten")},
    **{name: "M" for name in ("union", "intersection")},
    **{name: "gc" for name in ("graph.reachable", "graph.reachable_paths")},
    **{name: "oT" for name in ("json.filter", "json.remove", "object.remove", "object.filter")},
    **{name: "v" for name in ("json.marshal", "yaml.marshal", "walk", "internal.print")},
    "array.slice": "ann",
    "concat": "sT",
    "format_int": "nn",
    "glob.match": "sTs",
    "indexof_n": "ss",
    "internal.template_string": "c",
    "io.jwt.decode_verify": "sk",
    "io.jwt.encode_sign": "ovo",
    "json.marshal_with_options": "vo",
    "json.match_schema": "oo",
    "json.patch": "vp",
    "json.verify_schema": "o",
    "net.cidr_contains_matches": "TT",
    "net.cidr_merge": "T",
    "numbers.range_step": "nnn",
    "object.get": "oTv",
    "object.keys": "o",
    "object.union": "oo",
    "object.union_n": "O",
    "rand.intn": "sn",
    "regex.find_all_string_submatch_n": "ssn",
    "regex.find_n": "ssn",
    "sprintf": "sa",
    "strings.any_prefix_match": "TT",
    "strings.any_suffix_match": "TT",
    "strings.render_template": "so",
    "strings.replace_n": "os",
    "substring": "snn",
    "time.add_date": "tnnn",
    "time.diff": "tt",
    "urlquery.encode_object": "o",
}


def outcome(builtin, arguments):
    state = Work(BUDGET)
    try:
        if builtin.needs_state:
            result = builtin.function(state, *arguments)
        else:
            result = builtin.function(*arguments)
    except (BuiltinError, StepLimitExceeded) as error:
        result = type(error), str(error)
    return result, state.used


def check(builtin, arguments):
    before = exact(copy.deepcopy(arguments))
    result, used = outcome(builtin, arguments)
    assert exact(arguments) == before, "an argument was changed"
    if isinstance(result, tuple):
        return
    assert result is UNDEFINED or is_value(result)
    if not builtin.impure:
        # Caches are warm now: neither the answer nor the charge may depend on them.
        again, used_again = outcome(builtin, arguments)
        assert (exact(again), used_again) == (exact(result), used)


@pytest.mark.parametrize("name", sorted(BUILTINS))
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_total(name, data):
    builtin = BUILTINS[name]
    wanted = WANTED.get(name, "s" * builtin.arity)
    kinds = data.draw(st.sampled_from([wanted, wanted, wanted, "v" * builtin.arity]))
    check(builtin, [data.draw(KINDS[kind]) for kind in kinds[: builtin.arity]])
