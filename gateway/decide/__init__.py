"""Stage 3: the input document, the Rego policy, the decision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from gateway import wire
from gateway.decide.body import read_body
from gateway.decide.decision import check_size, outline, read_decision
from gateway.decide.dialects import apisix, envoy, kong
from gateway.decide.document import native
from gateway.decide.inquiry import DocumentRules, Inquiry
from gateway.errors import Code, DecisionError
from gateway.rego import EvalError, Policy, StepLimitExceeded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.config.model import Config, Route
    from gateway.model import Decision, Facts, Head, Match, Principal, Source

__all__ = ["Decider", "read_decision", "read_value", "reserved_names"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How a policy is asked and how its answer is read."""

    document: Callable[[Inquiry], dict[str, Any]]
    decision: Callable[[Any, frozenset[bytes]], Decision]


DIALECTS = {
    "native": Dialect(document=native, decision=read_decision),
    "envoy": Dialect(document=envoy.document, decision=envoy.read_decision),
    "kong": Dialect(document=kong.document, decision=kong.read_decision),
    "apisix": Dialect(document=apisix.document, decision=apisix.read_decision),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Decider:
    """The deciding of one snapshot; `entrypoints` and `reserved` are by route id."""

    policy: Policy
    entrypoints: Mapping[str, str]
    steps: int
    rules: DocumentRules
    reserved: Mapping[str, frozenset[bytes]]

    @classmethod
    def build(cls, config: Config, policy: Policy, entrypoints: Mapping[str, str]) -> Self:
        """Prepare the rules."""
        identity = wire.spelled(config.identity_names)
        return cls(
            policy=policy,
            entrypoints=entrypoints,
            steps=config.policy.steps,
            rules=DocumentRules.build(config, identity),
            reserved={route.id: reserved_names(config, route) for route in config.routes},
        )

    def document(
        self,
        head: Head,
        match: Match,
        principal: Principal,
        source: Source,
        facts: Facts,
        now: float,
    ) -> dict[str, Any]:
        """The input document; Missing or DecisionError where it needs the body."""
        fields = self.rules.fields(head)
        body = read_body(head, fields, facts, match, depth=self.rules.json_depth)
        inquiry = Inquiry(
            head=head,
            fields=fields,
            match=match,
            principal=principal,
            source=source,
            body=body,
            now=now,
            rules=self.rules,
        )
        return DIALECTS[match.route.dialect].document(inquiry)

    def decide(self, document: Mapping[str, Any], match: Match, now: float) -> Decision:
        """Ask the route's entrypoint; DecisionError where it cannot decide."""
        route = match.route
        try:
            value = self.policy.decide(
                self.entrypoints[route.id],
                document,
                now=now,
                steps=self.steps,
                # Head and token have limits of their own; a body may have many members.
                bounded=route.body is None,
            )
        except StepLimitExceeded as error:
            raise DecisionError(Code.WORK_LIMIT, error.told) from None
        except EvalError as error:
            raise DecisionError(Code.EVAL_ERROR, error.told) from None
        return read_value(value, route.dialect, self.reserved[route.id])


def reserved_names(config: Config, route: Route | None = None) -> frozenset[bytes]:
    """The spelled field names that no policy may set: on any route, or on this one."""
    names = config.identity_names
    if route is not None and route.upstream_token is not None:
        names |= {"authorization"}
    return wire.RESERVED | wire.spelled(names)


def read_value(value: Any, dialect: str, reserved: frozenset[bytes]) -> Decision:
    """Read a policy's value as a dialect has it; DecisionError `decision-shape`."""
    try:
        check_size(value)
        return DIALECTS[dialect].decision(value, reserved)
    except DecisionError as error:
        raise DecisionError(error.code, f"{error.detail}; {outline(value)}") from None
