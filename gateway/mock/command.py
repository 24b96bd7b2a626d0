"""`headgate mock`: the provider as a process of its own."""

import argparse
import asyncio
import os
import resource
import signal
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial

import uvloop

from . import faults
from .options import OPTIONS, BadOption, Options, read
from .server import MockProvider


DEFAULT_ADDRESS = "127.0.0.1:9001"
EX_UNAVAILABLE = 69  # sysexits.h: a service is not to be had, here its address
# A pace that is nice to watch; the library's own default is as fast as possible.
_PACE = {"first-delay": "200ms", "interval": "20ms"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `--listen` and every option of a request, as its default."""
    parser.add_argument(
        "--listen", metavar="HOST:PORT", type=_address, default=DEFAULT_ADDRESS, help="%(default)s"
    )
    for name, option in OPTIONS.items():
        parser.add_argument(
            f"--{name}", type=partial(_read, name), default=_PACE.get(name), help=option.help
        )


def main(args: argparse.Namespace) -> int:
    """Serve as the arguments say until SIGINT or SIGTERM; return the exit status."""
    given = {item.name: getattr(args, item.name) for item in fields(Options)}
    asked = {name: value for name, value in given.items() if value is not None}
    host, port = args.listen
    return serve_forever(host, port, replace(Options(), **asked), partial(print, flush=True))


def serve_forever(
    host: str, port: int, defaults: Options, announce: Callable[[str], object]
) -> int:
    """Serve until SIGINT or SIGTERM; `announce` gets one line, which ends in the URL.

    Returns 0, or 69 if the address cannot be had.
    """
    _allow_many_sockets()
    return uvloop.run(_serve(host, port, defaults, announce))


async def _serve(host: str, port: int, defaults: Options, announce: Callable[[str], object]) -> int:
    mock = MockProvider(defaults)
    try:
        await mock.start(host, port)
    except OSError as error:
        # uvloop's own text names the address again; a failed look-up has a number below 0.
        number = error.errno or 0
        why = os.strerror(number) if number > 0 else error.strerror or error
        print(f"headgate mock: cannot listen on {host}:{port}: {why}", file=sys.stderr)
        return EX_UNAVAILABLE
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    try:
        announce(f"mock provider on {mock.url}")
        await stopped.wait()
    finally:
        await mock.close()
    return 0


def _allow_many_sockets() -> None:
    # The usual soft limit of 1,024 is there for programs that call select(); this one does not.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"expected HOST:PORT, not {text!r}")
    return host.strip("[]"), int(port)


def _read(name: str, text: str) -> object:
    try:
        if name == "fault":
            faults.find(text)
        return read(name, text)
    except BadOption as error:
        raise argparse.ArgumentTypeError(str(error)) from None
