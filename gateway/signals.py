"""The signals that end the process, and the one by which a terminal says that it is gone."""

import asyncio
import os
import signal
from collections.abc import Callable


ENDING = (signal.SIGTERM, signal.SIGINT)


def heed(
    loop: asyncio.AbstractEventLoop, end: Callable[[], None], hung_up: Callable[[bool], None]
) -> None:
    """Call `end` on SIGTERM and SIGINT, and `hung_up` on SIGHUP.

    That is told whether we have a terminal.  What nohup(1) started hears no SIGHUP.
    """
    for number in ENDING:
        loop.add_signal_handler(number, end)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        loop.add_signal_handler(signal.SIGHUP, hung_up, _has_terminal())


def ignore() -> None:
    """End by no signal any more: what is left takes a moment, and has a status of its own.

    The loop has given back the handlers by which a second Ctrl-C would end it as a failure.
    """
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)


def _has_terminal() -> bool:
    """Say whether a terminal controls this process, and takes it along when it hangs up."""
    try:
        os.close(os.open(os.ctermid(), os.O_RDONLY))
    except OSError:
        return False
    return True
