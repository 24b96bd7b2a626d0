"""httpx-sse: a program that reads events, and asks again from its last id when it is cut."""

import httpx
from httpx_sse import connect_sse

from tests.clients.report import job, parsed, say, url


# A proxy that the environment names is not meant here.
client = httpx.Client(timeout=None, trust_env=False)
method = "POST" if "body" in job else "GET"
headers = job.get("headers", {})
if "offset" in job:
    headers["last-event-id"] = job["offset"]


def read() -> None:
    """Read to the end of the answer.  Raises httpx.TransportError if it is cut."""
    with connect_sse(client, method, url, json=job.get("body"), headers=headers) as source:
        if source.response.status_code == 204:
            return
        for event in source.iter_sse():
            say(event=event.event, id=event.id, data=parsed(event.data))
            headers["last-event-id"] = event.id


while True:
    try:
        read()
        break
    except httpx.TransportError as error:
        say(lost=str(error))
say(end="closed")
