"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from gateway.config.validate import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.errors import ConfigError

config_file = click.option(
    "--config",
    "-c",
    "path",
    type=click.Path(path_type=Path),
    default=Path("gateway.yaml"),
    show_default=True,
    envvar="GATEWAY_CONFIG",
    show_envvar=True,
    help="The configuration file.",
)
"""Passes the path of gateway.yaml as `path`."""


output_format = click.option(
    "--format", "shape", type=click.Choice(["pretty", "json"]), default="pretty",
    show_default=True, help="For people, or for programs.",
)  # fmt: skip
"""Passes what is printed as `shape`."""


def examples(*lines: str) -> str:
    """What stands below the help of a command: a line for each example."""
    return "\n".join(("\b", "Examples:", *(f"  {line}" for line in lines)))


def no_such(kind: str, word: str, known: Iterable[str], option: str) -> click.BadParameter:
    """Wrong usage: an option names what there is not."""
    hint = did_you_mean(word, known)
    return click.BadParameter(
        f"no {kind} {word!r}" + (f"; {hint}" if hint else ""), param_hint=option
    )


def is_given(ctx: click.Context, name: str) -> bool:
    """Whether a parameter stands on the command line."""
    source = ctx.get_parameter_source(name)
    return source is ParameterSource.COMMANDLINE and ctx.params[name] != ()


def cannot_listen(error: ConfigError) -> click.ClickException:
    """What to say where a command, which has no configuration file, cannot take its --port."""
    said = "; ".join(problem.message for problem in error.problems)
    return click.ClickException(f"{said}; choose another with --port (0 takes a free one)")
