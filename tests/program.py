"""`headgate` as a process of its own, as an operator runs it."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path


ROOT = Path(__file__).parent.parent
COMMAND = [sys.executable, "-m", "gateway"]
PATIENCE = 20  # seconds that a process may take; reached only when a test fails


def environment(changes: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a process: this one's, without what pytest or a user put there."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return kept | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"} | dict(changes)


def run(*arguments: str, cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=cwd,
        env=environment(env),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        stdin=subprocess.DEVNULL,
    )


def _hear_all() -> None:
    """Begin as from a terminal: a shell cannot undo what nohup(1), or a CI, has ignored."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


class Program:
    """`with Program("serve", …) as program`: a process; what is left of it is killed."""

    def __init__(self, *arguments: str, shell: str = 'exec "$@"', **env: str) -> None:
        """Run a command as `shell` says, which has its words as arguments, without a terminal."""
        self.lines: list[str] = []  # of its standard output, read so far
        self._process = subprocess.Popen(
            ["sh", "-c", shell, "sh", *COMMAND, *arguments],
            cwd=ROOT,
            env=environment(env),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            preexec_fn=_hear_all,
        )

    def __enter__(self) -> "Program":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def read_until(self, text: str) -> str:
        """Return the output up to the line that holds `text`.

        Raises:
            EOFError: it ended before.
        """
        assert self._process.stdout is not None
        while not self.lines or text not in self.lines[-1]:
            line = self._process.stdout.readline()
            if not line:
                raise EOFError(f"{text!r} is not in {self.lines}, {self.end()}")
            self.lines.append(line)
        return "".join(self.lines)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def end(self) -> tuple[int, str]:
        """Wait for its end; return its status and what it wrote to standard error."""
        out, err = self._process.communicate(timeout=PATIENCE)
        self.lines += out.splitlines(keepends=True)
        return self._process.returncode, err
