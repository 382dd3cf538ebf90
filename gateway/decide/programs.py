"""Programs of the engine as the gateway takes them: problems, data, entrypoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import ConfigError, Problem
from gateway.rego import CompileError, Policy, Program, Value

if TYPE_CHECKING:
    from gateway.config.model import Config

DEFAULT_ENTRYPOINTS = ("gateway/authz/decision", "gateway/authz/allow")


def with_data(program: Program, data: Value) -> Policy:
    """The program over its data; ConfigError where data and a rule define the same."""
    try:
        return Policy(program, data)
    except CompileError as error:
        raise as_config_error(error) from None


def as_config_error(error: CompileError) -> ConfigError:
    """The engine's problems as the gateway's."""
    return ConfigError(
        tuple(
            Problem(
                found.message,
                file=found.file,
                line=found.row,
                column=found.col,
                remedy=found.remedy,
            )
            for found in error.problems
        )
    )


def default_entrypoint(config: Config, program: Program) -> str:
    """The deciding rule of routes that name none."""
    return config.policy.entrypoint or next(
        filter(program.defines, DEFAULT_ENTRYPOINTS), DEFAULT_ENTRYPOINTS[0]
    )


def resolve_entrypoints(config: Config, program: Program) -> dict[str, str]:
    """The deciding rule of each route; ConfigError for one that the policies do not define."""
    default = default_entrypoint(config, program)
    problems: list[Problem] = []
    found: dict[str, str] = {}
    for index, route in enumerate(config.routes):
        found[route.id] = (route.entrypoint or default).strip("/")
        if not program.defines(found[route.id]):
            key = f"routes.{index}.entrypoint" if route.entrypoint else "policy.entrypoint"
            package, _, rule = found[route.id].rpartition("/")
            problems.append(
                Problem(
                    f"no policy defines {found[route.id]}",
                    key=key,
                    remedy=f"write `{rule}` in `package {package.replace('/', '.')}`",
                )
            )
    if problems:
        raise ConfigError(tuple({problem.key: problem for problem in problems}.values()))
    return found
