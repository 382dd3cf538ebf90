"""`gateway serve`."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING

import click

from gateway.commands.options import config_file
from gateway.serve.app import Gateway, run_loop, settle
from gateway.serve.reload import Start, start

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@config_file
@click.option("--verbose", "-v", is_flag=True, help="Say more on standard error.")
def serve(path: Path, *, verbose: bool) -> None:
    """Run the gateway until SIGTERM or Ctrl-C.

    Edits of the configuration, policies, keys and certificates take effect by themselves; SIGHUP
    looks for them at once and opens log files anew.

    Example: gateway serve --config gateway.yaml
    """
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    for noisy in ("asyncio", "watchdog", "hypercorn"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    run_loop(_serve(path, start(path, os.environ)))


async def _serve(path: Path, begun: Start) -> None:
    log = logging.getLogger("gateway")
    if begun.problems:
        for problem in begun.problems:
            log.error("%s", problem)
        log.error("the candidate is broken: serving the last good set kept on disk")
    gateway = Gateway(path, os.environ, begun)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, gateway.stop.set)
    loop.add_signal_handler(signal.SIGHUP, gateway.hangup)
    for listener in gateway.edge:
        log.info("listening on %s", listener.url)
    if gateway.admin:
        log.info("admin on %s", gateway.admin.url)
    log.info("policy revision %s", begun.snapshot.revision)
    settle()
    await gateway.run()
