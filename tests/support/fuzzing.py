"""Requests made up from the server's own OpenAPI page (schemathesis), against a running server.

By hand, with figures:

    python -m tests.support.fuzzing --each 20             tiny models, about 2,000 cases and more
    python -m tests.support.fuzzing --each 1 --real       the starter models
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.families.random_encoders import encoder_models
from tests.families.tiny_language_models import language_model
from tests.families.tiny_models import stable_diffusion
from tests.families.tiny_videos import animatediff
from tests.support import starter
from tests.support.dummy_plugin import dummy_checkpoint
from tests.support.server import ADMIN_KEY, ROOT, Server, running_server
from tests.support.tiny_listener import listening_model

CHECKS = (
    "no_fault_of_the_server",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
GENERATED = re.compile(r"([\d,]+) generated")
FAMILIES_OF_ROUTES = "studio,generate,photo,tryon"
SETTINGS = {
    "ONEBOX_PLUGINS": "tests.support.dummy_plugin",
    "ONEBOX_THREADS": "1",
    # What a request may take: one that is granted much else takes minutes here.
    "ONEBOX_MAX_VIDEO_FRAMES": "4",
    "ONEBOX_DEFAULT_MODELS": "chat=llama,completion=llama,embeddings=encoders/bert,"
    "text-to-image=sd,image-to-image=sd,inpainting=sd,background=sd,variations=sd,upscale=sd,"
    "transcription=whisper,text-to-video=film",
}


def tiny_models(folder: Path) -> Path:
    """A model for most tasks, random and as small as they come."""
    dummy_checkpoint(folder / "alpha")
    language_model(folder / "llama", max_position_embeddings=512)
    encoder_models(folder / "encoders")
    stable_diffusion(folder / "sd")
    listening_model(folder / "whisper")
    animatediff(folder / "film")
    return folder


def fuzz(
    server: Server, *, each: int, phases: str = "examples,fuzzing", seed: int = 8, limit_s: int
) -> tuple[int, str, int]:
    """Send `each` made-up requests to every operation of the page.

    Returns schemathesis' exit status (0: nothing found), its report, and how many cases there were.
    """
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/openapi.json"),
        *("--header", f"Authorization: Bearer {ADMIN_KEY}"),
        *("--checks", ",".join(CHECKS), "--phases", phases, "--max-examples", str(each)),
        *("--seed", str(seed), "--generation-deterministic", "--continue-on-failure"),
        *("--request-timeout", "300", "--warnings", "off", "--no-color"),
    ]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "SCHEMATHESIS_HOOKS": "tests.support.fuzz_checks",
    }
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            command, env=environment, cwd=folder, capture_output=True, text=True, timeout=limit_s
        )
    report = done.stdout + done.stderr
    found = GENERATED.search(report)
    return done.returncode, report, int(found[1].replace(",", "")) if found else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=20, help="cases for each operation")
    parser.add_argument("--phases", default="examples,coverage,fuzzing")
    parser.add_argument("--real", action="store_true", help="against the starter models")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if given.real:
            models, settings = starter_folders(), {}
        else:
            models, settings = str(tiny_models(folder / "models")), SETTINGS
        with running_server(
            folder / "data", Path(models), **settings, ONEBOX_COMPAT=FAMILIES_OF_ROUTES
        ) as server:
            status, report, cases = fuzz(server, each=given.each, phases=given.phases, limit_s=7200)
            alive = server.process.poll() is None
    print(report)
    print(f"{cases} cases; the server {'lives' if alive else 'IS DEAD'}")
    sys.exit(status)


def starter_folders() -> str:
    """MODEL_DIRS with every starter model."""
    fetched = (
        starter.smollm2_folder(),
        starter.minilm_folder(),
        starter.whisper_folder(),
        starter.voice_folder(),
        starter.u2netp_folder(),
    )
    return ",".join(str(folder) for folder in (ROOT / "ai-models", *fetched))


if __name__ == "__main__":
    main()
