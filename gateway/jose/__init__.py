"""Strict JSON, compact tokens, and keys that are fit to verify with."""
