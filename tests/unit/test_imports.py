"""The gateway never imports torch: proved in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# The last two only where requests are limited.
HEAVY = ["torch", "diffusers", "transformers", "accelerate", "limits", "redis"]
REPORT = f"""
import sys
loaded = [name for name in {HEAVY!r} if name in sys.modules]
if loaded:
    raise SystemExit(f"imported: {{loaded}}")
"""
SERVER = """
from pathlib import Path
import onebox.api.server, onebox.cli
from onebox.api.app import create_app
from onebox.bootstrap import build_services
from onebox.core.settings import load_settings

root = Path(sys.argv[1])
services = build_services(load_settings(root=root, data_dir=root, model_dirs=(root / "m",)))
app = create_app(services)
app.openapi()
services.registry.rescan()
services.registry.stop()
"""


def run(code: str, folder: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", "import sys\n" + code + REPORT, str(folder)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "ONEBOX_ROOT": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr


def test_importing_onebox_imports_no_torch(tmp_path):
    run("import onebox", tmp_path)


def test_building_the_whole_server_imports_no_torch(tmp_path):
    run(SERVER, tmp_path)
