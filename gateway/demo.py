"""`headgate demo`: the gateway before the bundled provider, for whoever wants to try it.

Both run in one process on loopback; no key, no network.  The usual ports are taken if
they are free, others if not.
"""

import asyncio
import os
import socket
import sys

import uvloop

from gateway import signals
from gateway.config import parse
from gateway.logs import Log, bridged
from gateway.mock import MockProvider, Options
from gateway.server import Server
from gateway.settings import Config
from gateway.systemd import Notifier


HOST = "127.0.0.1"
PORT, ADMIN_PORT, MOCK_PORT = 8080, 9090, 9001

# About as fast as a person reads, so that tokens are seen coming one by one.
PACE = Options(first_delay=200, interval=30)

CONFIG = """
[server]
listen = ["{host}:{port}"]
admin = "{host}:{admin}"
drain = "2s"          # nobody waits for a demo to end
log_format = "text"

[upstreams.mock]
base_url = "{upstream}/v1"
keys = ["no-key-needed"]

[models.demo]
targets = [{{ upstream = "mock" }}]

[models."*"]
targets = [{{ upstream = "mock" }}]
"""

WELCOME = """\
Headgate is at {url}, before a mock provider at {upstream}.
Metrics: http://{admin}/metrics        Ctrl-C ends it.

With curl:

  curl -N {url}/v1/chat/completions -H 'content-type: application/json' \\
    -d '{{"model":"demo","stream":true,"messages":[{{"role":"user","content":"hello"}}]}}'

With the OpenAI SDK (pip install openai):

  from openai import OpenAI

  client = OpenAI(base_url="{url}/v1", api_key="none")
  stream = client.chat.completions.create(
      model="demo", stream=True, messages=[{{"role": "user", "content": "hello"}}]
  )
  for chunk in stream:
      print(chunk.choices[0].delta.content or "", end="", flush=True)
  print()

Each request is logged here:
"""


def run() -> int:
    """Run the demo until Ctrl-C; return the exit status."""
    log = Log(sys.stdout.fileno(), "text")
    try:
        with bridged(log):
            uvloop.run(_run(log))
    finally:
        signals.ignore()
        log.close()
    return 0


async def _run(log: Log) -> None:
    provider = MockProvider(PACE)
    await provider.start(HOST, free_port(MOCK_PORT))
    try:
        await _serve(log, provider)
    finally:
        await provider.close()


async def _serve(log: Log, provider: MockProvider) -> None:
    server = Server(
        _config(provider.url),
        log=log,
        loop=asyncio.get_running_loop(),
        notifier=Notifier({}),
        watchdog=None,
        inherited={},
    )
    server.heed_signals()
    try:
        await server.start()
        _welcome(server, provider.url)
        await server.run()
    finally:
        server.close()


def _config(upstream: str) -> Config:
    text = CONFIG.format(
        host=HOST, port=free_port(PORT), admin=free_port(ADMIN_PORT), upstream=upstream
    )
    return parse(text, name="demo", env=os.environ)


def _welcome(server: Server, upstream: str) -> None:
    url = "http://" + server.public.addresses[0]
    admin = server.admin.addresses[0]
    print(WELCOME.format(url=url, admin=admin, upstream=upstream), flush=True)


def free_port(wanted: int) -> int:
    """Return `wanted` if nobody listens there, else 0: let the system pick."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((HOST, wanted))
        except OSError:
            return 0
    return wanted
