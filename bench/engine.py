"""Decisions of the engine, in µs, beside OPA, regopy's VM, cedarpy and casbin.

All take turns in one process, so that noise hits them alike; the smallest of the rounds counts.
OPA (opa-golib-python-bindings: Go in this process, queries prepared, input and result as JSON),
cedarpy and casbin take part where they are installed, the latter two with the reference policy's
role check. What it takes to ask OPA for a constant is printed, too. The engine is asked as the
gateway asks it for requests without a body, whose heads have limits of their own (`bounded`).

Run: python -m bench.engine [ROUNDS]
"""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from regopy import Interpreter, LogLevel  # type: ignore[import-untyped]  # it has no types

from gateway.rego import Policy, compile as compile_policy

if TYPE_CHECKING:
    from gateway.rego import Value

NOW = 1_790_000_000.0
ENTRYPOINT = "authz/allow"
ROUND = 0.02
"""Seconds of calls in a round, at least one."""

Decide = Callable[[], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A policy, and an input that it must decide as `expected`; `rival` also asks regopy's VM."""

    name: str
    module: str
    input: Value
    data: Value = field(default_factory=dict)
    expected: Value = True
    rival: bool = True


REFERENCE = """package authz

default allow := false

allow if {
	some role in input.user.roles
	some grant in data.roles[role]
	input.method in grant.methods
	glob.match(grant.path, ["/"], input.path)
}
"""
ROLES = {
    f"role{number}": [{"methods": ["GET", "HEAD"], "path": f"/service{number}/*"}]
    for number in range(50)
}

RULES: Mapping[str, Callable[[int], str]] = {
    "equal": lambda number: f'input.path == "/service{number}"',
    "prefix": lambda number: f'startswith(input.path, "/service{number}/")',
    "mixed": lambda number: (
        f'input.method == "GET"\n\tstartswith(input.path, "/service{number}/")\n\t'
        f'"role{number}" in input.user.roles'
    ),
}


def user(*roles: str) -> dict[str, Value]:
    """An input of the reference policy's shape."""
    return {
        "method": "GET",
        "path": "/service49/items",
        "user": {"name": "alice", "roles": [*roles]},
    }


def of_rules(kind: str, count: int) -> Case:
    """A policy of `count` rules, the last of which allows."""
    rules = "\n".join(f"allow if {{\n\t{RULES[kind](number)}\n}}\n" for number in range(count))
    path = f"/service{count - 1}" + ("" if kind == "equal" else "/items")
    given = {**user(f"role{count - 1}"), "path": path}
    module = f"package authz\n\ndefault allow := false\n\n{rules}"
    return Case(name=f"{count} rules, {kind}", module=module, input=given, rival=count <= 1000)


def cases() -> list[Case]:
    """All cases."""
    entries = {f"user{number}": {"active": True, "tier": number % 3} for number in range(20_000)}
    items = [{"id": number, "owner": "alice"} for number in range(1_000)]
    every = "every item in input.items { item.owner == input.owner }"
    everyone = f"package authz\n\nallow if {{\n\t{every}\n}}\n"
    known = "package authz\n\nallow if data.users[input.user].active\n"
    grants: Value = {"roles": ROLES}
    return [
        Case(name="reference", module=REFERENCE, data=grants, input=user("role7", "role49")),
        Case(
            name="reference, denied",
            module=REFERENCE,
            data=grants,
            input=user("role7", "role8"),
            expected=False,
        ),
        *(of_rules(kind, count) for kind in RULES for count in (10, 100, 1_000, 5_000)),
        Case(
            name="1,000 elements in input",
            module=everyone,
            input={"owner": "alice", "items": items},
        ),
        Case(
            name="20,000 entries of data",
            module=known,
            data={"users": entries},
            input={"user": "user19999"},
            rival=False,
        ),
    ]


def ours(case: Case) -> tuple[Decide, float, float]:
    """Our decision, and the seconds that compiling and loading the data took."""
    began = time.perf_counter()
    program = compile_policy({"authz.rego": case.module}, [ENTRYPOINT])
    compiled = time.perf_counter()
    policy = Policy(program, case.data)
    loaded = time.perf_counter()
    decision = policy.decide(ENTRYPOINT, case.input, now=NOW)
    assert decision is case.expected, (case.name, decision)
    return (
        lambda: policy.decide(ENTRYPOINT, case.input, now=NOW, bounded=True),
        compiled - began,
        loaded - compiled,
    )


def vm(case: Case) -> Decide:
    """The decision of regopy's own virtual machine, of a bundle built once."""
    interpreter = Interpreter()
    interpreter.log_level = LogLevel.NONE
    interpreter.add_data(case.data)
    interpreter.add_module("authz.rego", case.module)
    bundle = interpreter.build(None, [ENTRYPOINT])

    def decide() -> object:
        interpreter.set_input(case.input)
        return interpreter.query_bundle_entrypoint(bundle, ENTRYPOINT)

    said = json.loads(str(decide()))
    assert said["expressions"] == [case.expected], (case.name, said)
    return decide


def opa(case: Case) -> Decide:
    """The decision of OPA, by a query that it prepares once."""
    from opa_bindings import OpaEngine  # type: ignore[import-untyped,import-not-found,unused-ignore]  # noqa: PLC0415  optional

    engine = OpaEngine()
    engine.add_policy("authz.rego", case.module)
    if case.data:
        engine.add_data(case.data)
    path = ENTRYPOINT.replace("/", ".")
    assert engine.eval_document(path, case.input) is case.expected, case.name
    return lambda: engine.eval_document(path, case.input)


def casbin() -> Decide:
    """The reference policy's check by casbin."""
    import casbin as library  # type: ignore[import-untyped,import-not-found,unused-ignore]  # noqa: PLC0415  optional

    model = library.Model()
    model.load_model_from_text(
        "[request_definition]\nr = sub, path, method\n"
        "[policy_definition]\np = role, path, method\n"
        "[role_definition]\ng = _, _\n"
        "[policy_effect]\ne = some(where (p.eft == allow))\n"
        "[matchers]\n"
        "m = g(r.sub, p.role) && keyMatch2(r.path, p.path) && r.method == p.method\n"
    )
    enforcer = library.Enforcer(model)
    for number in range(50):
        for method in ("GET", "HEAD"):
            enforcer.add_policy(f"role{number}", f"/service{number}/:item", method)
    for role in ("role7", "role49"):
        enforcer.add_grouping_policy("alice", role)
    assert enforcer.enforce("alice", "/service49/items", "GET")
    return lambda: enforcer.enforce("alice", "/service49/items", "GET")


def cedar() -> Decide:
    """The reference policy's check by Cedar; a request carries its entities, as Cedar has it."""
    import cedarpy as library  # type: ignore[import-untyped,import-not-found,unused-ignore]  # noqa: PLC0415  same

    policies = "\n".join(
        f'permit (principal in Role::"role{number}", action in [Action::"GET", Action::"HEAD"], '
        f'resource) when {{ context.path like "/service{number}/*" }};'
        for number in range(50)
    )
    entities = [
        {
            "uid": {"type": "User", "id": "alice"},
            "attrs": {},
            "parents": [{"type": "Role", "id": role} for role in ("role7", "role49")],
        }
    ]
    request = {
        "principal": 'User::"alice"',
        "action": 'Action::"GET"',
        "resource": 'Service::"orders"',
        "context": {"path": "/service49/items"},
    }

    def decide() -> object:
        return library.is_authorized(request, policies, entities)

    assert getattr(decide(), "allowed")  # noqa: B009  its types are not everywhere
    return decide


RIVALS: Mapping[str, Callable[[], Decide]] = {"casbin": casbin, "cedarpy": cedar}


def timed(steps: Sequence[Decide], rounds: int) -> list[float]:
    """The least µs per call of each; all take turns."""
    best = [float("inf")] * len(steps)
    counts = [1] * len(steps)
    for _ in range(rounds):
        for index, step in enumerate(steps):
            began = time.perf_counter()
            for _ in range(counts[index]):
                step()
            taken = (time.perf_counter() - began) / counts[index]
            best[index] = min(best[index], taken * 1e6)
            counts[index] = max(1, int(ROUND / taken))
    return best


def _against(theirs: float | None, mine: float) -> str:
    return "" if theirs is None else f"{theirs:.0f} {theirs / mine:3.0f}x"


def main() -> None:
    """Print the tables."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    has_opa = importlib.util.find_spec("opa_bindings") is not None
    best: dict[str, float] = {}
    print(f"{'µs a decision':24}{'gateway':>8}{'regopy VM':>11}{'':5}{'OPA':>8}{'':5}"
          f"{'compile s':>11}{'load s':>8}")  # fmt: skip
    for case in cases():
        decide, compiled, loaded = ours(case)
        rivals = {}
        if case.rival:
            rivals["vm"] = vm(case)
        if has_opa:
            rivals["opa"] = opa(case)
        mine, *others = timed([decide, *rivals.values()], rounds)
        best[case.name] = mine
        took = dict(zip(rivals, others, strict=True))
        vm_, opa_ = (_against(took.get(name), mine) for name in ("vm", "opa"))
        print(f"{case.name:24}{mine:8.2f}{vm_:>16}{opa_:>13}{compiled:11.2f}{loaded:8.3f}")
    if has_opa:
        asking = Case(name="a constant", module="package authz\n\nallow := true\n", input=user())
        print(f"{'OPA, a constant':24}{'':24}{timed([opa(asking)], rounds)[0]:8.0f}")
    print()
    present = [name for name in RIVALS if importlib.util.find_spec(name)]
    for name, taken in zip(
        present, timed([RIVALS[name]() for name in present], rounds), strict=True
    ):
        print(f"{name + ', role check':26}{taken:10.2f}")
    for name in RIVALS.keys() - set(present):
        print(f"{name} is not installed")
    for kind in ("equal", "prefix"):
        ratio = best[f"1000 rules, {kind}"] / best[f"10 rules, {kind}"]
        print(f"1,000 rules / 10, {kind:6} {ratio:10.2f}   (goal: at most 1.2)")


if __name__ == "__main__":
    main()
