"""websockets: a program that follows a log, and asks again from its last id when it is cut."""

import json

from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect

from tests.clients.report import job, say, url


last = job.get("offset", "-1")


def read() -> None:
    """Read to the end of the log.  Raises ConnectionClosedError if there was none."""
    global last
    address = f"{url}?live=websocket&offset={last}"
    with connect(address, subprotocols=["headgate.v1"], proxy=None) as socket:
        for message in socket:
            frame = json.loads(message)
            last = frame["id"]
            say(**frame)
        say(end="closed", code=socket.close_code)


while True:
    try:
        read()
        break
    except ConnectionClosedError as error:
        if error.rcvd is not None:
            raise
        say(lost=str(error))
