"""The servers that `benchmarks.embeddings` asks, each started as its own documentation says."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.gateway import free_port
from benchmarks.peers import onebox, running_peer
from tests.support.server import API_KEY, ROOT

OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "DO_NOT_TRACK": "1"}
HALF = "bfloat16"
NAMES = {"torch": "torch", "onnx": "ONNX"}


@dataclass(frozen=True, slots=True)
class Running:
    """A server that runs. One with a `group` is stopped (SIGSTOP) while others are asked.

    Attributes:
        engine: what it is compared as: "ours", "torch" or "onnx".
    """

    name: str
    url: str
    model: str
    engine: str
    dtype: str = "float32"
    key: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    group: int | None = None

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}

    def body(self, texts: Sequence[str]) -> dict[str, Any]:
        asked = {"model": self.model, "input": list(texts), "encoding_format": "float"}
        return {**asked, **self.extra}

    def stop(self) -> None:
        if self.group is not None:
            os.killpg(self.group, signal.SIGSTOP)

    @contextlib.contextmanager
    def awake(self) -> Iterator[None]:
        if self.group is not None:
            os.killpg(self.group, signal.SIGCONT)
        try:
            yield
        finally:
            self.stop()


@contextlib.contextmanager
def onebox_on(model: Path) -> Iterator[tuple[Running, Running]]:
    """Onebox as it is usually run, on the model as it is and with dtype = "bfloat16"."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder) / "models"
        half = f"{model.name}-{HALF}"
        shutil.copytree(model, models / model.name)
        shutil.copytree(model, models / half)
        (models / half / "onebox.toml").write_text(f'dtype = "{HALF}"\n')
        # Equal contents would be one model with two places.
        config = models / half / "config.json"
        config.write_text(config.read_text() + "\n")
        with onebox(models, PORT=str(port)):
            found = [
                Running(
                    f"Onebox {dtype}",
                    f"http://127.0.0.1:{port}/v1/embeddings",
                    model_name,
                    "ours",
                    dtype,
                    key=API_KEY,
                    extra={"truncate": True},
                )
                for dtype, model_name in (("float32", model.name), (HALF, half))
            ]
            yield found[0], found[1]


@contextlib.contextmanager
def infinity(program: Path, model: Path, engine: str, threads: int) -> Iterator[Running]:
    """`engine`: "torch" or "optimum", which is ONNX. Without a pooling its vectors are wrong.

    Its own warm-up with the longest texts would be most of its start; `compare` warms it up.
    """
    port = free_port()
    command = [str(program), "v2", "--model-id", str(model), "--served-model-name", "model"]
    command += ["--engine", engine, "--device", "cpu", "--pooling-method", "mean"]
    command += ["--no-model-warmup", "--host", "127.0.0.1", "--port", str(port)]
    settings = {**OFFLINE, "OMP_NUM_THREADS": str(threads)}
    kind = "torch" if engine == "torch" else "onnx"
    with running_peer(command, port, settings) as pid:
        url = f"http://127.0.0.1:{port}/embeddings"
        yield Running(f"infinity {NAMES[kind]}", url, "model", kind, group=pid)


@contextlib.contextmanager
def sentence_transformers(python: Path, model: Path, threads: int) -> Iterator[Running]:
    port = free_port()
    app = ROOT / "benchmarks" / "sentence_app.py"
    command = [str(python), str(app), str(model), str(port), str(threads)]
    with running_peer(command, port, OFFLINE) as pid:
        url = f"http://127.0.0.1:{port}/embeddings"
        yield Running("sentence-transformers + FastAPI", url, "model", "torch", group=pid)
