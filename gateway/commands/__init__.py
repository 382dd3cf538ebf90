"""The command line: one module for each command, imported when it is used.

Exit codes: 0 done; 1 could not be done, or a file is bad; 2 tests failed, a request is refused, or
decisions change; 64 wrong usage; 70 a bug of the gateway; 130 interrupted. `policy eval` has those
of `opa eval` instead of 1 and 2. No traceback is shown unless GATEWAY_TRACEBACK is set.
"""

from __future__ import annotations

import errno
import importlib
import importlib.metadata
import os
import sys
import traceback
from typing import Any, NoReturn

import click

from gateway.commands import report
from gateway.commands.group import Group
from gateway.errors import ConfigError

DISTRIBUTION = "policy-gateway"
EXIT_FAILED = 1
EXIT_USAGE = 64  # EX_USAGE of sysexits.h; click's own 2 says here that a test failed
EXIT_BUG = 70  # EX_SOFTWARE of sysexits.h
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells say it

COMMANDS = {
    "serve": "Run the gateway.",
    "demo": "Show the gateway at work, with its own issuer and upstream.",
    "init": "Write a configuration, a policy and a key to start from.",
    "echo": "Run a sample service to stand behind the gateway.",
    "config": "Check and show the configuration.",
    "policy": "Test and check policies, and replay decisions with them.",
    "bundle": "Build, sign, verify and fetch bundles of policies.",
    "decisions": "Look into decision logs and recent decisions.",
    "token": "Mint, inspect and verify tokens.",
    "keys": "Generate keys and show their public half.",
}
"""Each command is an object of the module gateway.commands.NAME, both of the same name."""


class Commands(Group):
    """A group that imports a command when it runs, and in which no exception gets through."""

    def main(  # type: ignore[override]  # it always exits, whatever the mode
        self, args: Any = None, prog_name: str | None = None, **extra: Any
    ) -> NoReturn:
        """Run the command line and exit; what click would say is said as all else is."""
        try:
            code = super().main(args, prog_name, **{**extra, "standalone_mode": False})
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message(), err=True)  # the help
            sys.exit(EXIT_USAGE)
        except click.UsageError as error:
            if names_bad_file(error):
                report.show_error(error.format_message())
                sys.exit(EXIT_FAILED)
            report.show_usage(error)
            sys.exit(EXIT_USAGE)
        except click.ClickException as error:
            report.show_error(error.format_message())
            sys.exit(error.exit_code)
        except click.Abort:
            sys.exit(EXIT_INTERRUPTED)
        sys.exit(code)  # None, or what click.exceptions.Exit holds

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  click's signature
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"{__name__}.{cmd_name}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  click's signature
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt:
            ctx.exit(EXIT_INTERRUPTED)
        except Exception as error:  # the boundary: a user sees no traceback
            if isinstance(error, OSError) and error.errno == errno.EPIPE:
                raise  # click ends quietly when the reader of a pipe has gone
            ctx.exit(_report(error))


def names_bad_file(error: click.UsageError) -> bool:
    """Whether click found fault with a file, and not with the words that name it."""
    return (
        isinstance(error, click.BadParameter)
        and not isinstance(error, click.MissingParameter)
        and error.param is not None
        and isinstance(error.param.type, click.File | click.Path)
    )


def _report(error: Exception) -> int:
    """Tell the user what went wrong, on stderr; gives the exit code."""
    from gateway.rego.errors import CompileError  # noqa: PLC0415  --help need not load the engine
    from gateway.snapshot import as_config_error  # noqa: PLC0415  same

    if os.environ.get("GATEWAY_TRACEBACK"):
        click.echo("".join(traceback.format_exception(error)), err=True)
    match error:
        case ConfigError():
            report.show_problems(error.problems)
        case CompileError():
            report.show_problems(as_config_error(error).problems)
        case OSError():
            named = f"{error.filename}: " if error.filename else ""
            report.show_error(f"{named}{error.strerror or error}")
        case _:
            report.show_error(
                f"{type(error).__name__}: {error}\n"
                "This is a bug of the gateway. Please report it with what "
                "GATEWAY_TRACEBACK=1 shows in addition."
            )
            return EXIT_BUG
    return EXIT_FAILED


def _version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        try:
            number = importlib.metadata.version(DISTRIBUTION)
        except importlib.metadata.PackageNotFoundError:
            number = "(run from a checkout)"
        click.echo(f"gateway {number}")
        ctx.exit()


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_version,
    help="Show the version and exit.",
)
def main() -> None:
    """A policy-as-code API gateway: verifies tokens, decides in Rego, forwards what is allowed.

    \b
    Start here:
      gateway demo          watch it work
      gateway init DIR      write a configuration of your own
      gateway serve         run it
    """  # noqa: D301  click's mark for lines that are not to be joined
