"""The Rego engine."""
