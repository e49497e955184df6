"""A folder for infinity's ONNX engine: `python sentence_onnx.py MODEL OUT`.

Writes a copy of MODEL to OUT with `model.onnx` in place of its weights, float32, of any number of
texts and tokens. Runs in the environment of infinity; see `benchmarks.embeddings`.
"""

import inspect
import shutil
import sys
import warnings
from pathlib import Path

import torch
from transformers import AutoModel, AutoTokenizer


def write(model: Path, out: Path) -> None:
    shutil.copytree(model, out, ignore=shutil.ignore_patterns("*.safetensors", "*.bin"))
    # "eager": onnxruntime's optimizer knows its attention and makes one node of it.
    loaded = AutoModel.from_pretrained(model, attn_implementation="eager").eval()
    texts = ["a text", "a text of a few more words"]
    tokens = AutoTokenizer.from_pretrained(model)(texts, padding=True, return_tensors="pt")
    # Named in the order of the model's own parameters, which is that of the graph's inputs.
    order = inspect.signature(loaded.forward).parameters
    taken = {name: tokens[name] for name in order if name in tokens}
    free = {0: "texts", 1: "tokens"}
    with torch.inference_mode():
        torch.onnx.export(
            loaded,
            (taken,),
            str(out / "model.onnx"),
            input_names=list(taken),
            output_names=["last_hidden_state"],
            dynamic_axes=dict.fromkeys([*taken, "last_hidden_state"], free),
            opset_version=17,
            dynamo=False,
        )


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    write(Path(sys.argv[1]), Path(sys.argv[2]))
