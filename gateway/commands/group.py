"""A group of commands."""

from __future__ import annotations

import click


class Group(click.Group):
    """A group that says which command was probably meant."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if self.get_command(ctx, name) is None and name[:1].isalnum():
            from gateway.config.validate import did_you_mean  # noqa: PLC0415  slow to import

            hint = did_you_mean(name, self.list_commands(ctx))
            raise click.UsageError(f"no command {name!r}; {hint}", ctx)
        return super().resolve_command(ctx, args)
