"""Run the Durable Streams conformance suite against the gateway: `make conformance`.

The suite is a package of npm, pinned in package.json.  It is installed into build/, the
gateway is started on a port of the system's choice, and each test of the core protocol
must pass: so many of them that a suite which found none does not look like success.
"""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import npm


HERE = Path(__file__).parent
ROOT = npm.ROOT
PLACE = npm.place("conformance")

# Forks are not served, and subscriptions are a protocol of their own: by their names.
CORE = "^(?!.*([Ff]ork|[Ss]ubscription|Reserved))"
CORE_TESTS = 250
# Seconds that the suite may take; alone on a machine it needs a thirtieth.
PATIENCE = 600
# Milliseconds for one test.  Vitest's own 5 s are the speed of a machine, not of the protocol:
# some tests ask hundreds of times, and need three seconds where nothing else runs.
TEST_PATIENCE = 60_000

CONFIG = """
[server]
listen = ["127.0.0.1:0"]
admin = "127.0.0.1:0"

[logs]
long_poll = "1s"      # so long the suite waits for what does not come

[cors]
origins = ["https://example.com"]

[upstreams.none]
base_url = "http://127.0.0.1:9/v1"

[models."*"]
targets = [{ upstream = "none" }]
"""


def main() -> int:
    """Run the suite; return the exit status."""
    npm.install("conformance")
    shutil.copy(HERE / "suite.test.mjs", PLACE)
    with gateway() as url:
        passed, failed = run(url)
    print(f"Durable Streams core conformance: {passed} of {CORE_TESTS} passed, {failed} failed")
    return 0 if (passed, failed) == (CORE_TESTS, 0) else 1


@contextmanager
def gateway() -> Iterator[str]:
    """Start a gateway; give its address, and end it."""
    config = PLACE / "headgate.toml"
    config.write_text(CONFIG)
    command = [sys.executable, "-m", "gateway", "serve", "--config", str(config)]
    with (
        (PLACE / "gateway.log").open("w") as log,
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process,
    ):
        assert process.stdout is not None
        try:
            address = listening(process.stdout)
            # Its pipe must not fill up.
            rest = threading.Thread(target=shutil.copyfileobj, args=(process.stdout, log))
            rest.start()
            yield f"http://{address}"
        finally:
            process.kill()
        rest.join()


def listening(lines: Iterator[str]) -> str:
    """Return the address of the public listener.

    Raises:
        SystemExit: the gateway ended; it has said why.
    """
    for line in lines:
        said = json.loads(line)
        if said["msg"] == "listening" and said["listener"] == "public":
            return str(said["address"])
    sys.exit("the gateway did not start")


def run(url: str) -> tuple[int, int]:
    """Run the core tests; return how many passed and how many failed."""
    report = PLACE / "report.json"
    report.unlink(missing_ok=True)
    command = [
        *("node", "node_modules/vitest/vitest.mjs", "run", "--testNamePattern", CORE),
        f"--testTimeout={TEST_PATIENCE}",
        *("--reporter=dot", "--reporter=json", f"--outputFile.json={report}"),
    ]
    environment = os.environ | {"CONFORMANCE_TEST_URL": url, "CI": "1"}
    subprocess.run(command, cwd=PLACE, env=environment, timeout=PATIENCE, check=False)
    if not report.exists():
        return 0, 0
    counts = json.loads(report.read_bytes())
    return counts["numPassedTests"], counts["numFailedTests"]


if __name__ == "__main__":
    sys.exit(main())
