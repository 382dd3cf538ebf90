"""Sessions of browsers: where they are kept, how they begin, are renewed, and end."""

from gateway.serve.session.memory import MemoryStore
from gateway.serve.session.pages import SessionPages
from gateway.serve.session.service import SessionService
from gateway.serve.session.store import Store, Stored, StoreError

__all__ = ["MemoryStore", "SessionPages", "SessionService", "Store", "StoreError", "Stored"]
