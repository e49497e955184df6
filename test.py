#!/usr/bin/env python3
"""Run the tests: `python3 test.py [unit|language|audio|families|integration|e2e|gpu] [arguments]`.

Without a name everything but `gpu` runs. Makes or completes `.venv` first when that is needed,
as app.py does. Standard library only.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "src"))

from onebox.setup import launch  # noqa: E402 - src/ has to be on the path first

if __name__ == "__main__":
    sys.exit(launch.test(ROOT, sys.argv[1:]))
