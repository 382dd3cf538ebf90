"""What two policy sets said of one request, and whether it comes to the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from gateway.errors import Code, DecisionError
from gateway.rego.values import dumps

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.decide import Decider
    from gateway.model import Decision, Match

Difference = Literal["same", "deny_to_allow", "allow_to_deny", "other", "error"]

ALLOW: Final = "allow"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A decision, or the code that none could be made with, and its detail for the log."""

    decision: Decision | None
    code: Code | None = None
    detail: str = ""

    @classmethod
    def of(cls, decider: Decider, document: Mapping[str, Any], match: Match, now: float) -> Self:
        """Ask a policy set; never raises."""
        try:
            decision = decider.decide(document, match, now)
        except DecisionError as error:
            return cls(decision=None, code=error.code, detail=error.detail)
        except Exception as error:  # noqa: BLE001  as a request's own fault of ours: told, not raised
            detail = f"{type(error).__name__}: {error}"
            return cls(decision=None, code=Code.INTERNAL_ERROR, detail=detail)
        return cls(decision=decision, code=decision.code)

    @property
    def allow(self) -> bool:
        """Whether the request would pass."""
        return self.decision is not None and self.decision.allow

    def told(self, *, reasons: bool) -> str:
        """The verdict in a few words: `allow`, or the code, and the codes of the reasons."""
        codes = [reason.code for reason in self.decision.reasons] if self.decision else []
        first = self.code.text if self.code else ALLOW
        return f"{first}: {', '.join(codes)}" if codes and reasons else first


def compare(enforced: Verdict, shadow: Verdict) -> Difference:
    """How a shadow's verdict differs from the one that counts; `error` where it made none."""
    if shadow.decision is None:
        same = enforced.decision is None and enforced.code is shadow.code
        return "same" if same else "error"
    if enforced.allow is not shadow.allow:
        return "deny_to_allow" if shadow.allow else "allow_to_deny"
    if enforced.decision is None:
        return "other"
    return "same" if effect(enforced.decision) == effect(shadow.decision) else "other"


def effect(decision: Decision) -> tuple[object, ...]:
    """All of a decision that a client, an upstream or the log sees, whatever its order was."""
    reasons = decision.reasons, sorted(decision.response_headers)
    if decision.allow:
        headers = sorted(decision.headers), sorted(decision.remove_headers)
        return (*reasons, *headers, decision.rate_limit)
    body = dumps(decision.body) if decision.has_body else ""
    return (*reasons, decision.code, decision.status, decision.has_body, decision.text, body)
