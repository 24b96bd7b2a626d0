"""Packages of npm that tests need: pinned beside the tests, installed into build/.

`python -m tests.npm NAME` installs what `tests/NAME/package.json` names.
"""

import shutil
import subprocess
import sys
from pathlib import Path


ROOT = Path(__file__).parent.parent
# Seconds that npm may take; it needs a tenth.
PATIENCE = 300
# No lock file: it would name the registry's host.  Every version is exact.
QUIET = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock"]


def missing() -> str:
    """Return what to do before packages can be installed, "" if nothing."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            return f"{program} is missing: apt install nodejs npm"
    return ""


def place(name: str) -> Path:
    """Return where the packages of `tests/NAME` are, or will be."""
    return ROOT / "build" / name


def installed(name: str) -> bool:
    """Tell whether the packages are there in the versions that package.json names."""
    wanted, found = _package(name), place(name) / "installed.json"
    return found.exists() and found.read_bytes() == wanted.read_bytes()


def install(name: str) -> Path:
    """Install the packages, unless they are there; return the place.

    Raises:
        SystemExit: node or npm is missing.
    """
    if missing():
        sys.exit(missing())
    target = place(name)
    if not installed(name):
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(_package(name), target)
        subprocess.run(["npm", "install", *QUIET], cwd=target, check=True, timeout=PATIENCE)
        shutil.copy(_package(name), target / "installed.json")
    return target


def beside(name: str) -> Path:
    """Copy the scripts of `tests/NAME` to its packages, where alone node finds those; return where.

    They need not be installed.
    """
    target = place(name)
    target.mkdir(parents=True, exist_ok=True)
    for file in (ROOT / "tests" / name).glob("*.mjs"):
        # In one step: a client that is starting may be reading them.
        shutil.copy(file, fresh := target / f"{file.name}.fresh")
        fresh.replace(target / file.name)
    return target


def _package(name: str) -> Path:
    return ROOT / "tests" / name / "package.json"


if __name__ == "__main__":
    install(sys.argv[1])
