"""What the clients in Python share: their job, and the lines in which they say what they saw."""

import json
import sys
from typing import Any


url: str = sys.argv[1]
job: dict[str, Any] = json.loads(sys.argv[2])


def say(**line: object) -> None:
    """Print one line."""
    print(json.dumps(line), flush=True)


def parsed(data: str) -> Any:
    """Return the data of an event."""
    return data if data == "[DONE]" else json.loads(data)
