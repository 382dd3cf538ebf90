"""`gateway echo`: a service to stand behind the gateway, for trying things out."""

from __future__ import annotations

import asyncio
import signal

import click

from gateway.commands.options import cannot_listen
from gateway.config.model import Limits, Listener
from gateway.errors import ConfigError
from gateway.serve.hypercorn import BoundListener, bind, serve
from gateway.serve.loop import run_loop
from gateway.serve.sample import upstream_app
from gateway.serve.terms import Terms


@click.command()
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=9000,
    show_default=True,
    help="The port on 127.0.0.1; 0 takes a free one.",
)
def echo(port: int) -> None:
    """Run a sample service, which answers each request with what it received, as JSON.

    It is the upstream that a configuration of `gateway init` names: what it shows is what the
    gateway sent, identity headers included. It ends with Ctrl-C.

    Example: gateway echo --port 9000
    """
    try:
        listener = bind(Listener(address=f"127.0.0.1:{port}"), upstream_app())
    except ConfigError as error:
        raise cannot_listen(error) from None
    run_loop(_echo(listener))


async def _echo(listener: BoundListener) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    click.echo(f"a sample service on {listener.url}; Ctrl-C ends it", err=True)
    await serve([listener], Terms(shutdown=stop, limits=Limits(), counters=lambda _: None))
