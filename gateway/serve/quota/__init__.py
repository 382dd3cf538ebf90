"""Where rate limits are counted: in this machine's memory, or in Redis."""

from gateway.serve.quota.redis import RedisCounts
from gateway.serve.quota.service import QuotaService
from gateway.serve.quota.table import Table

__all__ = ["QuotaService", "RedisCounts", "Table"]
