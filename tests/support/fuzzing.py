"""Requests made up from the server's own OpenAPI page (schemathesis), against a running server.

By hand, with figures:

    python -m tests.support.fuzzing --each 20     tiny models, about 2,000 cases and more
    python -m tests.support.fuzzing --each 3 --phases fuzzing --real
                        the starter models and those that ship, about 300 cases in some minutes
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from onebox.starter.catalogue import SMOLLM2
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
ANSWERED = re.compile(r'^http_requests_total\{.*route="(.+)",status="(\d+)"\} (\S+)', re.MULTILINE)
DONE = re.compile(r'^onebox_predictions_total\{.*status="ok",task="(.+?)".*\} (\S+)', re.MULTILINE)
FAMILIES_OF_ROUTES = "studio,generate,photo,tryon"
# What a request may take: one that is granted much else takes minutes here.
SMALL = {"ONEBOX_THREADS": "1", "ONEBOX_MAX_VIDEO_FRAMES": "4"}
# For the same reason: tokens that the real chat model has room for. A request that says no
# `max_tokens` writes until its context is full, which of 8,192 takes minutes.
CONTEXT = 256
SETTINGS = {
    **SMALL,
    "ONEBOX_PLUGINS": "tests.support.dummy_plugin",
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
    server: Server,
    *,
    each: int,
    phases: str = "examples,fuzzing",
    seed: int = 8,
    limit_s: int,
    hooks: str = "fuzz_checks",
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
        "SCHEMATHESIS_HOOKS": f"tests.support.{hooks}",
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
        models = (real_models if given.real else tiny_models)(folder / "models")
        settings = SMALL if given.real else SETTINGS
        with running_server(
            folder / "data", models, **settings, ONEBOX_COMPAT=FAMILIES_OF_ROUTES
        ) as server:
            status, report, cases = fuzz(
                server,
                each=given.each,
                phases=given.phases,
                limit_s=7200,
                hooks="fuzz_media" if given.real else "fuzz_checks",
            )
            alive = server.process.poll() is None
            answered = answers(server) if alive else "no answers"
    print(report)
    print(f"{cases} cases: {answered}; the server {'lives' if alive else 'IS DEAD'}")
    sys.exit(status)


def answers(server: Server) -> str:
    """How many requests ended in each status, and how many tasks were carried out."""
    with server.client() as client:
        page = client.get("/metrics").text
    statuses: Counter[str] = Counter()
    for route, status, count in ANSWERED.findall(page):
        if route != "/ready":
            statuses[status] += int(float(count))
    done = {task for task, count in DONE.findall(page) if float(count)}
    told = ", ".join(f"{count} of {status}" for status, count in sorted(statuses.items()))
    return f"{told}; done: {', '.join(sorted(done)) or 'no task'}"


def real_models(folder: Path) -> Path:
    """Every starter model and those that ship. Copies: made-up requests delete models too."""
    fetched = (
        starter.smollm2_folder(),
        starter.minilm_folder(),
        starter.whisper_folder(),
        starter.voice_folder(),
        starter.u2netp_folder(),
    )
    for source in (ROOT / "ai-models", *fetched):
        shutil.copytree(source, folder, dirs_exist_ok=True)
    config = folder / SMOLLM2.folder / "config.json"
    fields = json.loads(config.read_text())
    config.write_text(json.dumps(fields | {"max_position_embeddings": CONTEXT}))
    return folder


if __name__ == "__main__":
    main()
