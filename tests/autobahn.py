"""`python -m tests.autobahn [REPORTS]`: the Autobahn fuzzing client against our WebSocket.

It needs `wstest` of the package autobahntestsuite, which runs on Python 2.7 only: named by
the variable WSTEST, or found in PATH.  Where there is none, nothing is run, and that is said.
Compression (12.* and 13.*) is left out: we decline it.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.program import ROOT


CASES = 301
PASSED = {"OK", "INFORMATIONAL", "NON-STRICT"}
# Seconds for all cases; they take about a quarter of a minute.
PATIENCE = 300


def fuzz(wstest: str, reports: Path) -> dict[str, dict[str, str]]:
    """Return the verdicts by case."""
    echo = [sys.executable, "-m", "tests.ws_echo"]
    with subprocess.Popen(echo, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        try:
            file = reports / "fuzzingclient.json"
            file.write_text(specification(server.stdout.readline().strip(), reports))
            client = [wstest, "-m", "fuzzingclient", "-s", str(file)]
            # It prints a line for each case.
            subprocess.run(client, stdout=subprocess.DEVNULL, timeout=PATIENCE, check=True)
        finally:
            server.terminate()
    assert server.returncode == 0, "the echo server crashed"
    return json.loads((reports / "index.json").read_text())["headgate"]


def specification(url: str, reports: Path) -> str:
    """Return what the fuzzing client is to do."""
    return json.dumps({
        "outdir": str(reports),
        "servers": [{"agent": "headgate", "url": url}],
        "cases": ["*"],
        "exclude-cases": ["12.*", "13.*"],
    })  # fmt: skip


def main() -> int:
    """Return the exit status."""
    wstest = shutil.which(os.environ.get("WSTEST", "wstest"))
    if wstest is None:
        print("Autobahn: not run, there is no wstest (Python 2.7: pip install autobahntestsuite)")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        reports = Path(sys.argv[1] if len(sys.argv) > 1 else folder).resolve()
        reports.mkdir(exist_ok=True)
        verdicts = fuzz(wstest, reports)
    ways = Counter(verdict["behavior"] for verdict in verdicts.values())
    failed = {
        case: verdict
        for case, verdict in verdicts.items()
        if not {verdict["behavior"], verdict["behaviorClose"]} <= PASSED
    }
    for case, verdict in failed.items():
        print(f"{case}: {verdict['behavior']}, close {verdict['behaviorClose']}")
    print(f"Autobahn: {len(verdicts) - len(failed)} of {CASES} cases passed, {dict(ways)}")
    return int(bool(failed) or len(verdicts) != CASES)


if __name__ == "__main__":
    sys.exit(main())
