"""Which tools an answer calls, for the two dialects whose requests choose them alike."""

from typing import Any


def must_call(body: dict[str, Any]) -> bool:
    """Tell whether the request wants a tool called, whatever the options say."""
    choice = body.get("tool_choice")
    return bool(body.get("tools")) and (choice == "required" or isinstance(choice, dict))


def called(body: dict[str, Any], i: int) -> Any:
    """Return the i-th tool called: the one chosen, else the tools in turn; None without any."""
    tools, choice = body.get("tools"), body.get("tool_choice")
    if isinstance(choice, dict):
        return choice
    return tools[i % len(tools)] if isinstance(tools, list) and tools else None
