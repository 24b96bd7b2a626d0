"""What is built and installed is what stands in pyproject.toml, pinned, hashed, hostless."""

import re
import tomllib
from pathlib import Path

import pytest


ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = {name: (ROOT / "requirements" / f"{name}.txt").read_text() for name in ("runtime", "dev")}

PIN = re.compile(r"(?P<name>[a-z0-9-]+)==(?P<version>[0-9.a-z]+)(?: ; [^\\]+)?")
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")

# Versions from which a known hole is closed; a lower floor would let it in again.
FLOORS = {"h11": "0.16", "orjson": "3.11.6"}  # CVE-2025-43859, CVE-2025-67221


def pins(lock):
    """Return the versions by name; every line must be a pin followed by its hashes."""
    found = {}
    for requirement in lock.replace(" \\\n", " ").splitlines():
        pin, *hashes = re.split(r" +(?=--hash)", requirement.strip())
        match = PIN.fullmatch(pin)
        assert match, f"not a pinned version: {pin}"
        assert hashes
        assert all(map(HASH.fullmatch, hashes)), pin
        found[match["name"]] = match["version"]
    return found


def names(requirements):
    return {re.match(r"[\w-]+", requirement)[0] for requirement in requirements}


@pytest.mark.parametrize("lock", LOCKS.values(), ids=LOCKS.keys())
def test_a_lock_file_is_pins_and_hashes_and_names_no_host(lock):
    assert pins(lock)
    assert "://" not in lock


def test_the_lock_files_hold_what_the_project_asks_for():
    runtime, dev = pins(LOCKS["runtime"]), pins(LOCKS["dev"])
    assert names(PROJECT["project"]["dependencies"]) <= runtime.keys()
    assert names(PROJECT["dependency-groups"]["dev"]) <= dev.keys()
    # Without build isolation, what builds is what is locked.
    assert names(PROJECT["build-system"]["requires"]) <= dev.keys()


def test_what_is_tested_is_what_runs():
    assert pins(LOCKS["runtime"]).items() <= pins(LOCKS["dev"]).items()


@pytest.mark.parametrize("name", FLOORS)
def test_no_version_with_a_known_hole_is_allowed(name):
    assert f"{name}>={FLOORS[name]}" in PROJECT["project"]["dependencies"]


def test_every_folder_of_the_package_is_installed():
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "gateway").rglob("*.py")}
    assert {".".join(folder.parts) for folder in folders} == {
        *PROJECT["tool"]["setuptools"]["packages"]
    }
