"""The decoder of a loaded model: the fastest way to compute it that gives what the library gives.

Each way is tried on a short text and compared with the library's own answer before it is used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog

from onebox.core.contracts import Device, Entry
from onebox.core.decoding import TokenSequence
from onebox.language.decoding.batch import Forward, Work
from onebox.language.decoding.batch_decoder import FIXED_ROWS, BatchDecoder, Pass
from onebox.language.decoding.kv_cache import KvMemory, KvRow
from onebox.language.decoding.library_pass import LibraryPass, NotOurs
from onebox.language.decoding.llama import LlamaPass, is_like_llama
from onebox.language.decoding.row_decoder import RowDecoder

log = structlog.get_logger(__name__)

# The trial's tokens, and the pieces in which ours computes them: prompt, continued prompt, one.
TRIAL_TOKENS = 24
TRIAL_PIECES = (15, 8, 1)
# How far logits may be off, as a share of their length; rounding is far below, a wrong model above.
TOLERANCES = {"float32": 1e-3, "float16": 0.05, "bfloat16": 0.1}
QUANTIZED_TOLERANCE = 0.35


def create_decoder(
    load: Callable[[], Any], entry: Entry, device: Device
) -> BatchDecoder | RowDecoder:
    """A decoder of the model that `load` gives.

    It is called again where a way has used up the weights and did not come to the same logits.
    """
    model = load()
    quantized = entry.overrides.get("quantization") == "int8"
    if is_like_llama(model):
        expected = _Trial(model)
        decoder = _if_equal(LlamaPass(model, quantized=quantized), expected, entry, quantized)
        if decoder is not None:
            return decoder
        model = load()
    if quantized:
        from onebox.language.decoding.quantize import quantize_int8

        quantize_int8(model)
    return _general(model, entry)


def _general(model: Any, entry: Entry) -> BatchDecoder | RowDecoder:
    if getattr(model.config, "vision_config", None) is not None:
        return RowDecoder(model)
    expected = _Trial(model)
    attention = model.config._attn_implementation
    try:
        decoder = _if_equal(LibraryPass(model), expected, entry, rows=_fixed_rows(model))
        if decoder is not None:
            return decoder
    except NotOurs as reason:
        log.info("decoded_row_by_row", model=entry.name, reason=str(reason))
    model.set_attn_implementation(attention)
    return RowDecoder(model)


class _Trial:
    """A short text, and the library's logits at the end of each piece of it."""

    def __init__(self, model: Any) -> None:
        import torch

        # The head may be wider than the table of tokens.
        vocabulary = model.get_input_embeddings().weight.shape[0]
        self.ids = [(7 * n * n + 3 * n + 1) % vocabulary for n in range(TRIAL_TOKENS)]
        with torch.inference_mode():
            inputs = torch.tensor([self.ids], device=model.device)
            logits = model(input_ids=inputs, use_cache=False).logits[0].float()
        self._logits = logits[torch.tensor(TRIAL_PIECES).cumsum(0) - 1]

    def off(self, compute: Pass) -> float:
        """How far a pass is off, as a share of the length of the logits."""
        import torch

        row = KvRow.create(KvMemory(compute.shape), TRIAL_TOKENS)
        got = []
        with torch.inference_mode():
            for count in TRIAL_PIECES:
                ids = self.ids[: row.computed + count]
                part = TokenSequence(prompt=ids, max_tokens=0, sampling=None)
                forward = Forward([], [Work(part, row, count)], compute.shape.device)
                got.append(compute(forward)[0].float())
                forward.finish()
        return float((torch.stack(got) - self._logits).norm() / self._logits.norm())


def _if_equal(
    compute: Pass,
    expected: _Trial,
    entry: Entry,
    quantized: bool = False,
    rows: int = FIXED_ROWS,
) -> BatchDecoder | None:
    """Its decoder, if it comes to the expected logits."""
    off = expected.off(compute)
    dtype = str(compute.shape.dtype).removeprefix("torch.")
    allowed = QUANTIZED_TOLERANCE if quantized else TOLERANCES[dtype]
    if off <= allowed:
        return BatchDecoder(compute, rows)
    log.warning("pass_differs", model=entry.name, way=type(compute).__name__, off=round(off, 4))
    return None


def _fixed_rows(model: Any) -> int:
    """Experts compute together the rows that choose them; there bits depend on the other rows."""
    has_experts = any("expert" in name for name, _ in model.named_modules())
    return 1 if has_experts else FIXED_ROWS
