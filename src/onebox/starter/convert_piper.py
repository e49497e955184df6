"""Make a model folder of a Piper voice: `python -m onebox.starter.convert_piper FILE.onnx FOLDER`.

Piper's voices are VITS models, as transformers has them, but for two things. Their waveform decoder
adds one convolution at a time where transformers adds two: see `piper_decoder`. And their tokenizer
puts a blank after every symbol and marks around the sentence: `tokenizer.json` says that.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from onebox.core.errors import ModelBroken
from onebox.core.os_support import die_with_parent
from onebox.starter.onnx_weights import read_onnx
from onebox.starter.piper_voice import BLANK, PiperVoice

START, END = "^", "$"


def convert(onnx: Path, folder: Path) -> None:
    """Write float32 safetensors, configuration and tokenizer into the folder.

    `<onnx>.json` must lie beside the file. Raises ModelBroken for voices of several speakers, or of
    another architecture than Piper's small and medium ones.
    """
    from safetensors.torch import save_file

    told = json.loads(onnx.with_name(f"{onnx.name}.json").read_text(encoding="utf-8"))
    if told.get("num_speakers", 1) != 1 or told.get("phoneme_type", "espeak") != "espeak":
        raise ModelBroken("only voices of one speaker that read espeak's phonemes are converted")
    voice = PiperVoice(read_onnx(onnx), told)
    tensors = {name: value.float().contiguous() for name, value in voice.tensors().items()}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    _write_json(folder / "config.json", voice.config())
    _write_tokenizer(folder, told)


def _write_tokenizer(folder: Path, told: dict[str, Any]) -> None:
    """Text of symbols → "^ _ s _ y _ … _ $" as ids; symbols that the voice has not are left out."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    symbols = {symbol: ids[0] for symbol, ids in told["phoneme_id_map"].items()}
    spoken = "".join(symbol for symbol in symbols if symbol not in (BLANK, START, END))
    escaped = "".join(f"\\x{{{ord(symbol):X}}}" for symbol in spoken)
    tokenizer = Tokenizer(models.WordLevel(symbols, unk_token=BLANK))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFD(),
            normalizers.Replace(Regex(f"[^{escaped}]"), ""),
            normalizers.Replace(Regex("(?<=.)"), BLANK),
            normalizers.Replace(Regex(r"\A"), START + BLANK),
            normalizers.Replace(Regex(r"\z"), END),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.save(str(folder / "tokenizer.json"))
    _write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "pad_token": BLANK,
            "bos_token": START,
            "eos_token": END,
            # Keys of VitsTokenizer: its texts are phonemes of this language.
            "phonemize": True,
            "language": told["espeak"]["voice"],
        },
    )


def _write_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def main(arguments: list[str]) -> None:
    die_with_parent()
    onnx, folder = map(Path, arguments)
    convert(onnx, folder)


if __name__ == "__main__":
    main(sys.argv[1:])
