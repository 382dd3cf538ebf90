"""Every builtin is total: for any values it answers, or refuses, within its budget."""

import copy

import pytest
from hypothesis import given, settings, strategies as st

from gateway.rego.builtins import BUILTINS
from gateway.rego.errors import BuiltinError, StepLimitExceeded
from gateway.rego.values import UNDEFINED
from tests.support.rego_values import TELLING_TEXTS, Work, exact, is_value, patches, scalars, values

ARGUMENTS = st.one_of(
    values,
    scalars,
    st.sampled_from(TELLING_TEXTS),
    st.lists(st.sampled_from(TELLING_TEXTS), max_size=3),
    st.lists(patches, max_size=3),
)


def outcome(builtin, arguments):
    state = Work(200_000)
    try:
        if builtin.needs_state:
            result = builtin.function(state, *arguments)
        else:
            result = builtin.function(*arguments)
    except (BuiltinError, StepLimitExceeded) as error:
        result = type(error), str(error)
    return result, state.used


@pytest.mark.parametrize("name", sorted(BUILTINS))
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_total(name, data):
    builtin = BUILTINS[name]
    arguments = [data.draw(ARGUMENTS) for _ in range(builtin.arity)]
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
