"""The programs of the bench that are C: compiled on first use, and again when a source changed."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path


HERE = Path(__file__).parent


class BuildError(Exception):
    """A program cannot be compiled; the message says what to do."""


@dataclass(frozen=True)
class Program:
    """One program and the files that make it."""

    name: str
    sources: tuple[str, ...]
    headers: tuple[str, ...]

    @property
    def binary(self) -> Path:
        """Where the program is once it is compiled."""
        return HERE / ".build" / self.name

    def build(self) -> Path:
        """Compile the program unless that was done, and return where it is.

        Raises:
            BuildError: there is no C compiler, or it refused.
        """
        newest = max((HERE / file).stat().st_mtime for file in self.sources + self.headers)
        if self.binary.exists() and self.binary.stat().st_mtime > newest:
            return self.binary
        if not shutil.which("cc"):
            raise BuildError("no C compiler: install one (Debian: apt install build-essential)")
        self.binary.parent.mkdir(exist_ok=True)
        command = ["cc", "-std=c11", "-O2", "-Wall", "-Wextra", "-o", str(self.binary)]
        command += self.sources
        done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BuildError(f"cc refused {self.name}:\n{done.stderr}")
        return self.binary


LOADGEN = Program("loadgen", ("loadgen.c", "answer.c"), ("answer.h", "histogram.h"))
PROVIDER = Program("provider", ("provider.c", "reply.c", "call.c"), ("reply.h", "call.h"))
