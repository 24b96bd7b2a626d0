"""Questions to a model that coalesces, one after the other, and what became of them."""

from tests.stand import Answer, Stand


CHAT = "/v1/chat/completions"


def outcomes(*answers: Answer) -> list[str | None]:
    """Return whether each was a hit or a miss; None where the gateway says nothing of it."""
    return [answer.headers.get("headgate-coalesced") for answer in answers]


async def asked(stand: Stand, *bodies: object, path: str = CHAT, **fields: str) -> list[Answer]:
    """Ask one after the other, and return the answers."""
    client = await stand.open()
    answers = [await client.ask("POST", path, body, **fields) for body in bodies]
    await client.close()
    return answers
