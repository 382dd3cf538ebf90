"""Would a cache of decisions pay? A hit and a miss of one keyed by the footprint, in µs.

The key holds the values at the paths that a decision reads, which the compiler knows exactly. It
is written out as code for each policy, as a cache in the engine would have it: what is measured
is the best that such a cache could do. A miss costs the key and the place in the cache on top of
the decision; real ones would have to throw old entries out as well.

Run: python -m bench.cache [ROUNDS]
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.engine import ENTRYPOINT, NOW, REFERENCE, ROLES, Case, timed, user
from gateway.rego import Policy, Value, compile as compile_policy
from gateway.rego.values import key_form

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SCAN = """package authz

allow if {
	some group in input.user.groups
	some rule in data.rules
	rule.group == group
	startswith(input.path, rule.prefix)
}
"""
OWN = Path(__file__).parent / "policies" / "authz.rego"
ENTRIES = 4096


def cases() -> Iterable[tuple[Case, str]]:
    """The policies, each with its entrypoint."""
    roles: Value = {"roles": ROLES}
    yield (
        Case(name="reference", module=REFERENCE, data=roles, input=user("role7", "role49")),
        ENTRYPOINT,
    )
    identity: dict[str, Value] = {"authenticated": True, "subject": "alice", "roles": ["reader"]}
    asked: Value = {
        "request": {"method": "GET", "path": "/orders/42"},
        "route": {"id": "orders", "params": {"id": "42"}, "labels": {}},
        "identity": identity,
    }
    grants: Value = {"roles": {"reader": [{"methods": ["GET"], "path": "/orders/*"}]}}
    yield (
        Case(name="bench/policies", module=OWN.read_text(), data=grants, input=asked),
        "gateway/authz/decision",
    )
    rules: Value = {"rules": [{"group": f"g{n}", "prefix": f"/{n}/"} for n in range(1_000)]}
    groups: Value = {"path": "/999/x", "user": {"groups": [f"g{n}" for n in range(980, 1_000)]}}
    yield Case(name="20 groups x 1,000 rules", module=SCAN, data=rules, input=groups), ENTRYPOINT


def key_of(paths: Iterable[tuple[str, ...]]) -> Callable[[Any], tuple[Any, ...]]:
    """Return the function that makes the key of an input; the inputs here are objects."""
    parts = (
        "input" + "".join(f".get({name!a}, nothing)" for name in path) for path in sorted(paths)
    )
    forms = (f"({part} if {part}.__class__ is str else form({part}))" for part in parts)
    names: dict[str, Any] = {"form": key_form, "nothing": {}}
    exec(f"def key(input): return ({', '.join(forms)},)", names)
    made: Callable[[Any], tuple[Any, ...]] = names["key"]
    return made


def measure(case: Case, entrypoint: str, rounds: int) -> tuple[float, float, float]:
    """Return the µs of a decision, of a hit, and of a miss."""
    program = compile_policy({"authz.rego": case.module}, [entrypoint])
    policy = Policy(program, case.data)
    key = key_of(program.footprints[entrypoint].paths)
    fresh = itertools.count()

    def decide() -> Value:
        return policy.decide(entrypoint, case.input, now=NOW, bounded=True)

    known: dict[Any, Value] = {key(case.input): decide()}

    def hit() -> Value:
        return known[key(case.input)]

    def miss() -> None:
        asked = (*key(case.input), next(fresh))
        if asked not in known:
            known[asked] = decide()
        if len(known) > ENTRIES:
            del known[asked]

    decided, found, missed = timed([decide, hit, miss], rounds)
    return decided, found, missed


def main() -> None:
    """Print the table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    print(f"{'µs':26}{'decision':>10}{'hit':>8}{'miss':>10}{'pays from':>12}")
    for case, entrypoint in cases():
        decided, found, missed = measure(case, entrypoint, rounds)
        share = max(missed - decided, 0) / (max(missed, decided) - found)
        print(f"{case.name:26}{decided:10.2f}{found:8.2f}{missed:10.2f}{share:7.0%} hits")


if __name__ == "__main__":
    main()
