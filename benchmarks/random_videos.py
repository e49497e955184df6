"""Video pipelines with random weights, for figures where no trained ones may be had.

    .venv/bin/python -m benchmarks.random_videos animatediff FOLDER [--base ai-models/onebox-shapes]
    .venv/bin/python -m benchmarks.random_videos ltx FOLDER [--layers 28 --heads 32 --widths 1]

`animatediff` is the bare motion adapter for a picture model. `ltx` and `wan` have their published
shape with fewer layers and heads, a decoder with the published channels divided by `--widths`, and
a text encoder that is small, for it is called once a video.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.video_memory import KINDS as DECODERS
from onebox.imaging.checkpoints.vocabularies import t5_tokenizer
from tests.support.server import ROOT

SHAPES = ROOT / "ai-models" / "onebox-shapes"
KINDS = ("animatediff", "ltx", "wan")
HEAD, TEXT = 64, 512


def write_adapter(folder: Path, base: Path) -> None:
    """A motion adapter of the base's widths, that does something: its last layers are not zero."""
    import torch
    from diffusers import MotionAdapter

    torch.manual_seed(0)
    widths = json.loads((base / "unet" / "config.json").read_text())["block_out_channels"]
    adapter = MotionAdapter(
        block_out_channels=tuple(widths),
        motion_layers_per_block=1,
        motion_norm_num_groups=8,
        motion_num_attention_heads=4,
        motion_max_seq_length=32,
        use_motion_mid_block=False,
    )
    adapter.save_pretrained(folder)


def write_pipeline(kind: str, folder: Path, layers: int, heads: int, widths: int) -> None:
    import diffusers
    import torch
    from diffusers import FlowMatchEulerDiscreteScheduler

    torch.manual_seed(0)
    decoder, channels, _ = DECODERS[kind](widths)
    make, text, pipeline = {
        "ltx": (_ltx, _t5, diffusers.LTXPipeline),
        "wan": (_wan, _umt5, diffusers.WanPipeline),
    }[kind]
    shift = {"use_dynamic_shifting": True} if kind == "ltx" else {"shift": 3.0}
    pipeline(
        transformer=make(channels, layers, heads),
        vae=decoder,
        scheduler=FlowMatchEulerDiscreteScheduler(**shift),
        text_encoder=text(),
        tokenizer=t5_tokenizer(),
    ).save_pretrained(folder)


def _ltx(channels: int, layers: int, heads: int) -> Any:
    from diffusers import LTXVideoTransformer3DModel

    return LTXVideoTransformer3DModel(
        in_channels=channels,
        out_channels=channels,
        num_attention_heads=heads,
        attention_head_dim=HEAD,
        cross_attention_dim=heads * HEAD,
        num_layers=layers,
        caption_channels=TEXT,
    )


def _wan(channels: int, layers: int, heads: int) -> Any:
    from diffusers import WanTransformer3DModel

    return WanTransformer3DModel(
        in_channels=channels,
        out_channels=channels,
        num_attention_heads=heads,
        attention_head_dim=HEAD,
        ffn_dim=4 * heads * HEAD,
        num_layers=layers,
        text_dim=TEXT,
    )


def _t5() -> Any:
    from transformers import T5Config, T5EncoderModel

    return T5EncoderModel(T5Config(d_model=TEXT, d_ff=1024, num_layers=6, num_heads=8))


def _umt5() -> Any:
    from transformers import UMT5Config, UMT5EncoderModel

    config = UMT5Config(vocab_size=32128, d_model=TEXT, d_ff=1024, num_layers=6, num_heads=8)
    return UMT5EncoderModel(config)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--base", type=Path, default=SHAPES)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--widths", type=int, default=4)
    given = parser.parse_args()
    if given.kind == "animatediff":
        write_adapter(given.folder, given.base)
    else:
        write_pipeline(given.kind, given.folder, given.layers, given.heads, given.widths)


if __name__ == "__main__":
    main()
