"""The command `headgate`: what to do, and how it ended.

Exit status: 0 done, 1 failed, 2 wrong usage, 69 a listener cannot be opened,
78 the configuration cannot be used (the last two as sysexits.h has them), 141 nobody
reads what is printed.
"""

import argparse
import errno
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from gateway import __version__, mock, rebuild_hint
from gateway.errors import BindError, ConfigError


EX_UNAVAILABLE = 69
EX_CONFIG = 78
# What a shell says of a program that SIGPIPE ended; in one with sockets that signal is ignored.
EX_PIPE = 128 + 13
# What the system says of a file that takes no more; any other error has another cause.
UNWRITABLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    _fill_descriptors()
    if sys.stdout is None:
        return _fail("standard output is closed; what nobody wants goes to /dev/null")
    try:
        try:
            return _run(argv)
        finally:
            sys.stdout.flush()  # at the interpreter's end nobody could catch what it raises
    except BrokenPipeError:
        _hush(1, 2)
        return EX_PIPE
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        _hush(1)
        return _fail(f"cannot write: {error.strerror}")


def _fill_descriptors() -> None:
    """Let nothing else take the numbers of the standard streams that the caller has closed.

    libuv ends the process rather than close a socket with such a number, and what is for
    people to read must not go into one.
    """
    while (nowhere := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(nowhere)
    if sys.stderr is None:  # `print` takes that for standard output
        sys.stderr = os.fdopen(2, "w", closefd=False)


def _fail(why: str) -> int:
    try:
        print(f"headgate: {why}", file=sys.stderr)
    except OSError:
        _hush(2)
    return 1


def _hush(*numbers: int) -> None:
    """Let what is not written yet to these descriptors go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in numbers:
        os.dup2(nowhere, number)


def _run(argv: Sequence[str] | None) -> int:
    args = _parser().parse_args(argv)
    try:
        return int(args.run(args))
    except ConfigError as error:
        print(error.message, file=sys.stderr)
        return EX_CONFIG
    except BindError as error:
        print(f"headgate: {error.message}", file=sys.stderr)
        return EX_UNAVAILABLE
    except ImportError as error:
        if (hint := rebuild_hint(error)) is None:
            raise
        print(f"headgate: {hint}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="headgate", description="The edge gateway for LLM token streams."
    )
    parser.add_argument("--version", action="version", version=f"headgate {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="run the gateway")
    serve.add_argument("--config", required=True, metavar="FILE", help="the TOML file")
    serve.add_argument("--log-format", choices=["json", "text"], help="instead of the file's")
    serve.set_defaults(run=_serve)

    check = commands.add_parser("check", help="say whether a configuration can be used")
    check.add_argument("file", metavar="FILE")
    check.set_defaults(run=_check)

    demo = commands.add_parser("demo", help="run the gateway before a bundled mock provider")
    demo.set_defaults(run=_demo)

    provider = commands.add_parser("mock", help="run the bundled mock provider")
    mock.add_arguments(provider)
    provider.set_defaults(run=mock.main)

    version = commands.add_parser("version", help="print the version")
    version.set_defaults(run=_version)
    return parser


def _serve(args: argparse.Namespace) -> int:
    # Imported where they are used: `check` and `version` need no event loop, and work
    # where the compiled part is not built.
    from gateway.config import load
    from gateway.server import serve

    config = load(args.config)
    for warning in config.warnings:
        print(warning, file=sys.stderr)
    with _fault_of(args.config):
        return serve(config, log_format=args.log_format or config.server.log_format)


def _check(args: argparse.Namespace) -> int:
    from gateway.config import load

    config = load(args.file)
    for warning in config.warnings:
        print(warning, file=sys.stderr)
    with _fault_of(args.file):
        for upstream in config.upstreams.values():
            if upstream.ca_file is not None:
                _check_certificates(upstream.name, upstream.ca_file)
    groups = ("upstreams", "models", "keys", "channels")
    counts = ", ".join(f"{group}: {len(getattr(config, group))}" for group in groups)
    print(f"{args.file}: good ({counts})")
    return 0


@contextmanager
def _fault_of(path: str) -> Iterator[None]:
    """Let an error name the file: what is found later than by reading it does not know it."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{path}: {error.message}") from error


def _check_certificates(upstream: str, ca_file: str) -> None:
    from gateway.dial import tls_context

    tls_context(upstream, ca_file)


def _demo(args: argparse.Namespace) -> int:
    from gateway.demo import run

    return run()


def _version(args: argparse.Namespace) -> int:
    print(f"headgate {__version__}")
    return 0
