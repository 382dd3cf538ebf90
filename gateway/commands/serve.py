"""`gateway serve`."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, cast

import click

from gateway.commands.options import config_file
from gateway.config.load import load
from gateway.config.model import MAX_WORKERS
from gateway.errors import ConfigError
from gateway.serve.app import Gateway
from gateway.serve.bundles import pull
from gateway.serve.loop import run_loop, settle
from gateway.serve.notify import ServiceManager
from gateway.serve.reload import Start, start
from gateway.serve.stderr import messages_on_stderr

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.serve.sink import Sink

log = logging.getLogger("gateway")

Count = int | Literal["auto"]


def number_of(_: click.Context, __: click.Parameter, text: str | None) -> Count | None:
    """How many workers: a number within the bounds of `workers`, or `auto`."""
    if text is None or text == "auto":
        return cast("Count | None", text)
    if not re.fullmatch("[1-9][0-9]{0,2}", text) or int(text) > MAX_WORKERS:
        raise click.BadParameter(f"expected 1 to {MAX_WORKERS}, or auto")
    return int(text)


@click.command()
@config_file
@click.option(
    "--workers",
    "-w",
    metavar="N",
    callback=number_of,
    help="Processes that serve, or `auto` for one for each CPU, instead of the file's `workers`.",
)
@click.option("--verbose", "-v", is_flag=True, help="Say more on standard error.")
def serve(path: Path, *, workers: Count | None, verbose: bool) -> None:
    """Run the gateway until SIGTERM or Ctrl-C.

    Edits of the configuration, policies, keys and certificates take effect by themselves; SIGHUP
    looks for them at once and opens log files anew. A service manager that sets NOTIFY_SOCKET
    (systemd with Type=notify) is told when it serves, reloads and ends.

    Example: gateway serve --config gateway.yaml
    """
    # A hangup that comes before the gateway can handle it must not end it.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    manager = ServiceManager.asking(os.environ)
    with messages_on_stderr(verbose=verbose) as messages:
        run_loop(_pull(path))
        begun = start(path, os.environ)
        run_loop(_serve(path, begun, workers, messages, manager, verbose=verbose))


async def _pull(path: Path) -> None:
    """Fetch the newest bundles before anything is built of them."""
    try:
        policy = load(path, os.environ).config.policy
    except ConfigError:
        return  # which is told where the last good set may stand in
    await pull(policy)


async def _serve(
    path: Path,
    begun: Start,
    workers: Count | None,
    messages: Sink,
    manager: ServiceManager,
    *,
    verbose: bool,
) -> None:
    for problem in begun.problems:
        log.error("%s", problem)
    if begun.problems:
        when = datetime.fromtimestamp(begun.kept_at, UTC).isoformat(" ", "seconds")
        log.error("the candidate is broken: serving the last good set, kept at %s", when)
    gateway = Gateway(path, os.environ, begun, workers=workers, verbose=verbose, manager=manager)
    messages.share(gateway.workers.turns(messages.name))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, gateway.terminate, number.name)
    loop.add_signal_handler(signal.SIGHUP, gateway.hangup)
    for listener in gateway.edge:
        log.info("listening on %s", listener.url)
    if gateway.admin:
        log.info("admin on %s", gateway.admin.url)
    settle()
    await gateway.run()
