"""Headgate: the edge gateway for LLM token streams."""

import sys
from pathlib import Path


__version__ = "0.1.0"


def rebuild_hint(error: ImportError) -> str | None:
    """Return what to do if the compiled module is missing or stale, None for other errors.

    Asked by whoever starts the program, not when the package is imported: the words and
    the configuration work without the compiled module.
    """
    if error.name != "gateway._sseparse":
        return None
    root = Path(__file__).parent.parent
    if (root / "setup.py").exists():
        how = f"cd {root} && {sys.executable} setup.py build_ext --inplace --force"
    else:
        how = f"{sys.executable} -m pip install --force-reinstall --no-deps headgate"
    return f"gateway._sseparse is not built, or not from this source ({error}); rebuild it: {how}"
