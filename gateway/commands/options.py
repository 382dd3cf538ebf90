"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

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
