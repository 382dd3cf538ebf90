"""The options that describe a request, and what they come to."""

from __future__ import annotations

import functools
import os
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from gateway.commands.dry_run import read_request
from gateway.commands.inputs import claims_of, read_token
from gateway.commands.options import is_given, no_such
from gateway.snapshot import load
from gateway.workbench.scenario import TokenRecipe
from gateway.workbench.tokens import Mint

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.snapshot import Snapshot
    from gateway.workbench.request import Request

KINDS = ("--token", "--claims", "--anonymous")
"""The options of which one makes a request."""

_OPTIONS = (
    click.option(
        "--token", type=click.File("rb"), help="Send a request with the token in FILE (- is stdin)."
    ),
    click.option(
        "--claims", help="Send a request with a token of these claims, as JSON or a file with them."
    ),
    click.option("--issuer", help="The issuer of --claims; the first one by default."),
    click.option(
        "--introspection",
        help="What the issuer answers about --token, as JSON or a file with it.",
    ),
    click.option("--anonymous", is_flag=True, help="Send a request without a token."),
    click.option("--method", "-X", default="GET", show_default=True, help="The request's method."),
    click.option("--path", "target", default="/", show_default=True, help="Its path and query."),
    click.option("--header", "-H", multiple=True, metavar="NAME: VALUE", help="A header."),
    click.option("--body", help="The body as text, or @FILE."),
    click.option(
        "--scheme",
        type=click.Choice(["http", "https"]),
        help="What the client speaks; that of the first listener by default.",
    ),
    click.option("--host", default="localhost", show_default=True, help="The Host."),
    click.option("--address", default="127.0.0.1", show_default=True, help="The client's address."),
    click.option(
        "--jwks",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        help="The key set of issuers whose keys come from the network.",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the options say of a request; `kinds` are those of KINDS that were given."""

    token: IO[bytes] | None
    claims: str | None
    issuer: str | None
    introspection: str | None
    anonymous: bool
    method: str
    target: str
    header: tuple[str, ...]
    body: str | None
    scheme: str | None
    host: str
    address: str
    jwks: Path | None

    @property
    def kinds(self) -> list[str]:
        """The options that were given, of those of which one makes a request."""
        given = (self.token is not None, self.claims is not None, self.anonymous)
        return [name for name, is_there in zip(KINDS, given, strict=True) if is_there]

    def refuse(self, ctx: click.Context) -> None:
        """Wrong usage where there is no request, and some option describes one."""
        named = [field.name for field in fields(self) if field.name not in _MAKE_ONE]
        refuse_given(ctx, named, f"describes a request: give one of {', '.join(KINDS)}")
        refuse_given(ctx, ("issuer",), "is for --claims")

    def ready(self, ctx: click.Context, path: Path) -> tuple[Request, Snapshot]:
        """The request, and the configuration in the file `path` with the keys that verify it."""
        if len(self.kinds) > 1:
            raise click.UsageError(f"{' and '.join(self.kinds)} are different kinds of requests")
        if self.token is None and self.jwks is not None:
            why = f"{self.kinds[0]} brings its own, or none"
            raise click.UsageError(f"--jwks verifies --token, and {why}")
        if self.token is None:
            refuse_given(ctx, ("introspection",), "is about --token")
        if self.claims is None:
            refuse_given(ctx, ("issuer",), "is for --claims")
        snapshot = load(path, os.environ, now=time.time())
        bearer = read_token(self.token) if self.token is not None else None
        answer = None
        if self.introspection is not None:
            answer = claims_of(self.introspection, "--introspection")
        if self.claims is not None:
            bearer, answer, snapshot = _made_token(snapshot, self.claims, self.issuer)
        request = read_request(
            bearer,
            answer,
            self.method,
            self.target,
            self.header,
            self.body,
            self.scheme,
            self.host,
            self.address,
        )
        return request, snapshot


_MAKE_ONE = ("token", "claims", "issuer", "anonymous")


def request_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of a request, which it gets together as `asked`."""

    @functools.wraps(command)
    def gathered(*arguments: Any, **given: Any) -> None:
        asked = Asked(**{field.name: given.pop(field.name) for field in fields(Asked)})
        command(*arguments, asked=asked, **given)

    made: Callable[..., None] = gathered
    for option in reversed(_OPTIONS):
        made = option(made)
    return made


def refuse_given(ctx: click.Context, names: Any, why: str) -> None:
    """Wrong usage where one of these parameters was given."""
    for parameter in ctx.command.params:
        if parameter.name in names and is_given(ctx, parameter.name):
            raise click.UsageError(f"{_shown(parameter)} {why}", ctx)


def _shown(parameter: click.Parameter) -> str:
    return (
        parameter.opts[0] if isinstance(parameter, click.Option) else parameter.human_readable_name
    )


def _made_token(
    snapshot: Snapshot, claims: str, issuer: str | None
) -> tuple[str, dict[str, Any] | None, Snapshot]:
    """A token of these claims, what its issuer answers about it, and what verifies it."""
    known = snapshot.config.issuers
    if issuer is not None and issuer not in known:
        raise no_such("issuer", issuer, known, "--issuer")
    if not known:
        raise click.ClickException("the configuration has no issuer whose tokens it takes")
    mint = Mint(snapshot.config)
    recipe = TokenRecipe(claims=claims_of(claims), issuer=issuer)
    now = time.time()
    answer = mint.introspection("test", recipe, now)
    return mint.token("test", recipe, now), answer, snapshot.with_keyrings(mint.keyrings)
