"""The Rego engine: regopy compiles in a child process, generated Python decides.

It imports nothing else of the gateway.
"""

from gateway.rego.checks import data_problems
from gateway.rego.compiler import compile  # noqa: A004  the engine's public verb
from gateway.rego.errors import (
    BuiltinError,
    CompileError,
    EvalError,
    RegoProblem,
    StepLimitExceeded,
)
from gateway.rego.footprint import Footprint
from gateway.rego.program import Policy, Program
from gateway.rego.values import UNDEFINED, Undefined, Value

__all__ = [
    "UNDEFINED",
    "BuiltinError",
    "CompileError",
    "EvalError",
    "Footprint",
    "Policy",
    "Program",
    "RegoProblem",
    "StepLimitExceeded",
    "Undefined",
    "Value",
    "compile",
    "data_problems",
]
