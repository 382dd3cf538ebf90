"""Rate limits: what a request is charged, and how limits count. Pure: the shell keeps counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from gateway.errors import Code, DecisionError, GatewayError
from gateway.limit.headers import rate_limit_headers, retry_after
from gateway.limit.keys import Asked, digest, needs_principal, reader, seed
from gateway.model import Charge, Chosen, Missing, Need, Quota

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from hashlib import blake2b

    from gateway.config.model import Config, RateLimit
    from gateway.model import Decision, Facts, Head, Match, Principal, Source, Taken

__all__ = ["Limiter", "check_taken", "rate_limit_headers"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rate limit, ready to charge; `seed` is that of its keys."""

    name: str
    quota: Quota
    seed: blake2b
    cost: int
    required: bool
    key: tuple[Callable[[Asked], str], ...]

    def charge(self, asked: Asked) -> Charge:
        """What a request is charged."""
        # The first part tells these from those that a policy chose.
        return self.charge_key(["", *[read(asked) for read in self.key]])

    def charge_key(self, parts: list[str]) -> Charge:
        """What a request of that key is charged."""
        return Charge(
            limit=self.name,
            key=digest(self.seed, parts),
            quota=self.quota,
            cost=self.cost,
            required=self.required,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Limiter:
    """The limits of one configuration; `before` and `after` identification, by route id.

    `rules` are all of them by name: those that a policy may choose.
    """

    rules: Mapping[str, Rule]
    before: Mapping[str, tuple[Rule, ...]]
    after: Mapping[str, tuple[Rule, ...]]

    @classmethod
    def build(cls, config: Config) -> Self:
        """Prepare all limits."""
        section = config.rate_limits
        rules = {
            name: _rule(name, limit, section.ipv6_prefix) for name, limit in section.limits.items()
        }
        late = {
            name for name, limit in section.limits.items() if any(map(needs_principal, limit.key))
        }
        charged = {
            route.id: section.default if route.rate_limits is None else route.rate_limits
            for route in config.routes
        }
        return cls(
            rules=rules,
            before=_of_routes(charged, {n: r for n, r in rules.items() if n not in late}),
            after=_of_routes(charged, {n: r for n, r in rules.items() if n in late}),
        )

    def admit(self, head: Head, match: Match, source: Source, facts: Facts) -> None:
        """Let a request pass to identification.

        Missing where charges are still to be taken for that; GatewayError where they were not.
        """
        rules = self.before.get(match.route.id)
        if rules is None:
            return
        if facts.admitted is None:
            asked = Asked(head=head, match=match, source=source)
            charges = tuple([rule.charge(asked) for rule in rules])
            raise Missing(Need(kind="quota", charges=charges))
        check_taken(facts.admitted)

    def charges(
        self, head: Head, match: Match, source: Source, principal: Principal, decision: Decision
    ) -> tuple[Charge, ...]:
        """What a request is charged once it is decided."""
        rules = self.after.get(match.route.id)
        if rules is None and decision.rate_limit is None:
            return ()
        asked = Asked(head=head, match=match, source=source, principal=principal)
        made = [rule.charge(asked) for rule in rules or ()]
        if decision.rate_limit is not None:
            made.append(self._chosen(decision.rate_limit))
        return tuple(made)

    def _chosen(self, chosen: Chosen) -> Charge:
        if isinstance(chosen.limit, Quota):
            key = digest(seed(BY_POLICY, chosen.limit), [chosen.key])
            return Charge(limit=BY_POLICY, key=key, quota=chosen.limit)
        rule = self.rules.get(chosen.limit)
        if rule is None:
            known = ", ".join(sorted(self.rules)) or "there are none"
            raise DecisionError(
                Code.DECISION_SHAPE, f"rate_limit.limit names no limit; configured: {known}"
            )
        return rule.charge_key([BY_POLICY, chosen.key])


BY_POLICY = "policy"
"""What the limit is called whose quota a policy gives itself."""


def check_taken(taken: Taken) -> None:
    """Raise GatewayError where charges were not taken: `rate-limited`, `rate-limit-unavailable`."""
    if taken.error:
        if any(charge.required for charge in taken.charges):
            raise GatewayError(
                Code.RATE_LIMIT_UNAVAILABLE, taken.error, headers=(("retry-after", "1"),)
            )
        return
    refused = [one for one in taken.standings if not one.allowed]
    if refused:
        names = ", ".join(f"{one.charge.limit} ({one.charge.key.hex()[:16]})" for one in refused)
        told = ("retry-after", str(retry_after(refused)))
        shown = rate_limit_headers(taken.standings)
        lines = [(name.decode(), value.decode()) for name, value in shown]
        raise GatewayError(Code.RATE_LIMITED, f"over {names}", headers=(told, *lines))


def _rule(name: str, limit: RateLimit, ipv6_prefix: int) -> Rule:
    quota = Quota(
        requests=limit.requests,
        per=limit.per,
        algorithm=limit.algorithm,
        burst=limit.burst or limit.requests,
    )
    return Rule(
        name=name,
        quota=quota,
        seed=seed(name, quota),
        cost=limit.cost,
        required=limit.on_error == "refuse",
        key=tuple(reader(part, ipv6_prefix) for part in limit.key),
    )


def _of_routes(
    charged: Mapping[str, tuple[str, ...]], rules: Mapping[str, Rule]
) -> dict[str, tuple[Rule, ...]]:
    found = {
        route: tuple(rules[name] for name in dict.fromkeys(names) if name in rules)
        for route, names in charged.items()
    }
    return {route: some for route, some in found.items() if some}
