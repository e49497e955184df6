#!/usr/bin/env python3
"""Start Onebox: `python3 app.py [command]`; without a command it serves.

The first start makes `.venv` and installs into it; where the packages import already
(uv, Docker, an active environment) nothing extra happens. Standard library only.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "src"))

from onebox.setup import launch  # noqa: E402 - src/ has to be on the path first

if __name__ == "__main__":
    sys.exit(launch.app(ROOT, sys.argv[1:]))
