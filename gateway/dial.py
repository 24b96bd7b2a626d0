"""Open a connection to an upstream: name and address within one deadline, TLS within another."""

import asyncio
import contextlib
import errno
import os
import socket
import ssl
import time
from collections.abc import Callable
from functools import partial

from gateway.errors import ConfigError, Overloaded
from gateway.resolver import Resolver
from gateway.upstream import UpstreamConnection
from gateway.upstream_errors import UpstreamUnavailable


# Seconds before the next address is tried beside one that does not answer (RFC 8305 §8).
STAGGER = 0.25
# Seconds for TLS to say goodbye; we abort, so nobody waits for it.
SHUTDOWN_TIMEOUT = 1.0
# What the system says when it has no more sockets to give: no fault of the upstream.
NO_SOCKET = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

OnLost = Callable[[UpstreamConnection], None]


def tls_context(upstream: str, ca_file: str | None) -> ssl.SSLContext:
    """Return the context for one upstream: the system's roots, or only those of `ca_file`.

    Raises:
        ConfigError: `ca_file` cannot be read, or holds no certificate.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # ssl.SSLError is one
        why = f"{ca_file}: no certificates in PEM format: {error.strerror or error}"
        raise ConfigError(f"[upstreams.{upstream}] ca_file: {why}") from error
    # Debian's OpenSSL would take less.
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


class Dialer:
    """Opens connections to one upstream."""

    def __init__(
        self,
        name: str,
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None,
        timeout: float,
        tls_timeout: float,
        resolver: Resolver,
        loop: asyncio.AbstractEventLoop,
        on_connected: Callable[[float], None],
    ) -> None:
        self._name = name
        self._host = host
        self._port = port
        self._tls = tls
        self._timeout = timeout  # seconds for name and TCP
        self._tls_timeout = tls_timeout  # seconds for the handshake
        self._resolver = resolver
        self._loop = loop
        self._on_connected = on_connected  # told the seconds it took

    async def __call__(self, on_lost: OnLost) -> UpstreamConnection:
        """Return a new connection.

        Raises:
            UpstreamUnavailable: with `kind` dns, connect, connect_timeout, tls or tls_timeout.
            Overloaded: the system has no socket for it.
        """
        began = time.monotonic()  # not the loop's clock: it counts whole milliseconds
        deadline = self._loop.time() + self._timeout
        try:
            addresses = self._resolver.known(self._host)
            if addresses is None:  # a time limit costs more than to know them
                async with asyncio.timeout_at(deadline):
                    addresses = await self._resolve()
            connection = await self._race(addresses, on_lost, deadline)
        except TimeoutError as error:
            raise self._failed("does not answer", "connect_timeout") from error
        except ssl.SSLError as error:
            raise self._failed(f"TLS failed: {_reason(error)}", "tls") from error
        except OSError as error:
            if error.errno in NO_SOCKET:
                raise Overloaded(f"upstream {self._name}: the system has no socket left") from error
            # Not the error's own words: some name the address, which is not the client's business.
            why = os.strerror(error.errno) if error.errno else str(error)
            raise self._failed(why, "connect") from error
        self._on_connected(time.monotonic() - began)
        return connection

    async def _resolve(self) -> tuple[str, ...]:
        try:
            return await self._resolver.resolve(self._host)
        except UpstreamUnavailable as error:  # says the name, which is not the client's business
            raise self._failed("its name cannot be resolved", error.kind) from error

    def _failed(self, why: str, kind: str) -> UpstreamUnavailable:
        self._resolver.doubt(self._host)
        return UpstreamUnavailable(f"upstream {self._name}: {why}", kind=kind)

    async def _race(
        self, addresses: tuple[str, ...], on_lost: OnLost, deadline: float
    ) -> UpstreamConnection:
        """Connect to the first address that answers, starting one every STAGGER."""
        if len(addresses) == 1:
            return await self._connect(addresses[0], on_lost, deadline)
        waiting = list(addresses)
        running: set[asyncio.Task[UpstreamConnection]] = set()
        done: set[asyncio.Task[UpstreamConnection]] = set()
        try:
            while True:
                if waiting:
                    attempt = self._connect(waiting.pop(0), on_lost, deadline)
                    running.add(self._loop.create_task(attempt))
                done, running = await asyncio.wait(
                    running,
                    timeout=STAGGER if waiting else None,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                for task in tuple(done):
                    if task.exception() is None:
                        done.discard(task)
                        return task.result()
                if not running and not waiting:
                    return done.pop().result()  # raises: all failed
        finally:
            for task in running | done:
                task.add_done_callback(_drop)
                task.cancel()

    async def _connect(
        self, address: str, on_lost: OnLost, deadline: float
    ) -> UpstreamConnection:
        factory = partial(UpstreamConnection, on_lost)
        if self._tls is None:
            async with asyncio.timeout_at(deadline):
                _, connection = await self._loop.create_connection(factory, address, self._port)
            return connection
        return await self._shake_hands(factory, await self._reach(address, deadline))

    async def _shake_hands(
        self, factory: Callable[[], UpstreamConnection], sock: socket.socket
    ) -> UpstreamConnection:
        try:
            async with asyncio.timeout(self._tls_timeout):
                _, connection = await self._loop.create_connection(
                    factory,
                    sock=sock,
                    ssl=self._tls,
                    server_hostname=self._host,
                    ssl_handshake_timeout=self._tls_timeout,
                    ssl_shutdown_timeout=SHUTDOWN_TIMEOUT,
                )
        except TimeoutError as error:
            raise self._failed("does not end the TLS handshake", "tls_timeout") from error
        except ConnectionError as error:  # it has no words, and often no number
            why = "closed the connection amid the TLS handshake"
            raise self._failed(why, "connect") from error
        return connection

    async def _reach(self, address: str, deadline: float) -> socket.socket:
        """Return a socket that is connected: only so can the handshake have a time of its own."""
        sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        try:
            sock.setblocking(False)
            async with asyncio.timeout_at(deadline):
                await self._loop.sock_connect(sock, (address, self._port))
        except BaseException:
            sock.close()
            raise
        return sock


def _reason(error: ssl.SSLError) -> str:
    """Return why TLS failed; of a certificate what is wrong with it, not whom it should name."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message.partition(",")[0]
    return error.reason or str(error)


def _drop(task: "asyncio.Task[UpstreamConnection]") -> None:
    """Drop a connection that came second."""
    with contextlib.suppress(asyncio.CancelledError, OSError):
        task.result().abort()
