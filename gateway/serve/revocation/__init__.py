"""Deny lists: where they come from, and how a change reaches all who serve."""

from gateway.serve.revocation.service import RevocationService
from gateway.serve.revocation.source import SourceStatus

__all__ = ["RevocationService", "SourceStatus"]
