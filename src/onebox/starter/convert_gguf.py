"""Make a model folder of a GGUF file: `python -m onebox.starter.convert_gguf FILE FOLDER`.

transformers takes many seconds to unpack a GGUF file at every load; a folder with safetensors loads
at once. Run in a process of its own, which ends with the memory it took.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from onebox.core.os_support import die_with_parent

# Notes of transformers about how it was called here; they mean nothing to who loads the folder.
_NOTES = ("is_local", "local_files_only", "gguf_file", "name_or_path")


def convert(gguf: Path, folder: Path) -> None:
    """Write bfloat16 safetensors, configuration, tokenizer and chat template into the folder."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    place, name = str(gguf.parent), gguf.name
    loaded = AutoModelForCausalLM.from_pretrained(place, gguf_file=name, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(place, gguf_file=name)
    # One that came from GGUF refuses to be saved; a fresh one of its class does not.
    config = loaded.config
    config.__dict__.pop("quantization_config", None)
    config._name_or_path = ""
    model = type(loaded)(config)
    model.load_state_dict(loaded.state_dict())
    model = model.to(torch.bfloat16)
    model.tie_weights()
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=_ends(tokenizer, config)
    )
    model.save_pretrained(folder)
    tokenizer.model_max_length = config.max_position_embeddings
    tokenizer.save_pretrained(folder)
    _drop_notes(folder / "tokenizer_config.json")


def _ends(tokenizer: Any, config: Any) -> list[int]:
    """Every token that ends an answer."""
    known = config.eos_token_id
    ends = {tokenizer.eos_token_id, *(known if isinstance(known, list) else [known])}
    return sorted(token for token in ends if token is not None)


def _drop_notes(path: Path) -> None:
    values = json.loads(path.read_text(encoding="utf-8"))
    kept = {key: value for key, value in values.items() if key not in _NOTES}
    path.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def main(arguments: list[str]) -> None:
    die_with_parent()
    gguf, folder = map(Path, arguments)
    convert(gguf, folder)


if __name__ == "__main__":
    main(sys.argv[1:])
