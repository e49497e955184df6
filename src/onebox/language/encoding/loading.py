"""Loading of encoders through transformers, and the choice of the way they are computed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog

from onebox.core.contracts import Device, Entry
from onebox.core.errors import ModelBroken
from onebox.core.weight_sizes import own_memory
from onebox.language.encoding.bert import BertPass, is_like_bert
from onebox.language.encoding.encoder import Pass, TextEncoder
from onebox.language.encoding.library_pass import LibraryPass, LibraryScores
from onebox.language.encoding.packed import Packed
from onebox.language.encoding.pooling import Head

log = structlog.get_logger(__name__)

# Tokens of the two texts that a pass is tried with, and how far what it gives may be off, as a
# share of its length: rounding is far below, a wrong model far above.
TRIAL_LENGTHS = (15, 9)
TOLERANCES = {"float32": 1e-4, "float16": 0.05, "bfloat16": 0.05}
# Stored vectors must not drift between machines, so a device's half precision is not taken.
DEFAULT_DTYPE = "float32"
MAX_NAMED = 3


def load_encoder(entry: Entry, device: Device) -> TextEncoder:
    """Of a folder of the family text_encoder. Raises ModelBroken for what cannot be loaded."""

    def load(dtype: str) -> Any:
        return _load(_auto_class(entry), entry, device, dtype)

    forward = _pass(load, entry, device)
    head = Head(entry.facts["steps"], Path(entry.path), device.torch_device)
    return TextEncoder(forward, head, head.size_bytes)


def load_scorer(entry: Entry, device: Device) -> TextEncoder:
    """Of a folder of the family cross_encoder."""
    import torch
    from transformers import AutoModelForSequenceClassification

    activate = getattr(torch.nn, entry.facts["activation"])()
    dtype = _dtype(entry)

    def load(name: str) -> Any:
        return _load(AutoModelForSequenceClassification, entry, device, name)

    if device.kind == "cpu":
        model = load(DEFAULT_DTYPE)
        base = model.base_model
        if is_like_bert(base):
            forward = _if_equal(base, dtype, entry)
            if forward is not None:
                score = _FirstTokenScore(model)
                return TextEncoder(forward, lambda x, packed: activate(score(x, packed)))
        del model, base
    scores = LibraryScores(load(dtype))
    return TextEncoder(scores, lambda x, packed: activate(x.float()))


class _FirstTokenScore:
    """The head of a model of sequences: one number from the first token of each text."""

    def __init__(self, model: Any) -> None:
        self._pooler = getattr(model.base_model, "pooler", None)
        self._before = getattr(model, "pre_classifier", None)
        self._classifier = model.classifier

    def __call__(self, hidden: Any, packed: Packed) -> Any:
        import torch

        first = hidden[torch.tensor(packed.starts(), device=hidden.device)]
        if self._pooler is not None:
            return self._classifier(self._pooler(first[:, None]))
        if self._before is not None:
            return self._classifier(torch.relu(self._before(first)))
        return self._classifier(first[:, None])


def _pass(load: Callable[[str], Any], entry: Entry, device: Device) -> Pass:
    """The fastest way to compute it that gives what the library gives."""
    dtype = _dtype(entry)
    if device.kind == "cpu":
        model = load(DEFAULT_DTYPE)
        if is_like_bert(model):
            forward = _if_equal(model, dtype, entry)
            if forward is not None:
                return forward
        elif dtype == DEFAULT_DTYPE:
            return LibraryPass(model)
        del model
    return LibraryPass(load(dtype))


def _if_equal(model: Any, dtype: str, entry: Entry) -> BertPass | None:
    """Our pass over the model, which has no weights after that, if it comes to the same."""
    import torch

    with torch.inference_mode():
        trial = _trial(model)
        expected = LibraryPass(model)(trial, lambda: None).float()
        forward = BertPass(model, getattr(torch, dtype))
        off = float((forward(trial, lambda: None) - expected).norm() / expected.norm())
    if off <= TOLERANCES[dtype]:
        return forward
    log.warning("pass_differs", model=entry.name, way="BertPass", off=round(off, 6))
    return None


def _trial(model: Any) -> Packed:
    import torch

    vocabulary = model.get_input_embeddings().weight.shape[0]
    padding = getattr(model.config, "pad_token_id", None)
    ids = [(7 * n * n + 3 * n + 5) % vocabulary for n in range(sum(TRIAL_LENGTHS))]
    # Padding in the middle of a text has no place of its own in some models.
    ids = [(number + 1) % vocabulary if number == padding else number for number in ids]
    segments = getattr(model.config, "type_vocab_size", 0) or 0
    marks = [n % 2 if segments > 1 else 0 for n in range(len(ids))]
    positions = torch.cat([torch.arange(length) for length in TRIAL_LENGTHS])
    place = model.device
    return Packed(
        torch.tensor(ids, device=place),
        torch.tensor(marks, device=place),
        positions.to(place),
        list(TRIAL_LENGTHS),
        [0] * len(TRIAL_LENGTHS),
    )


def _dtype(entry: Entry) -> str:
    return str(entry.overrides.get("dtype", DEFAULT_DTYPE))


def _auto_class(entry: Entry) -> Any:
    from transformers import AutoModel, AutoModelForTextEncoding

    return AutoModelForTextEncoding if entry.facts["encoder_half"] else AutoModel


def _load(auto_class: Any, entry: Entry, device: Device, dtype: str) -> Any:
    import torch

    if entry.overrides.get("quantization"):
        raise ModelBroken(
            "quantization is for models that write; take it out of onebox.toml, or set dtype there"
        )
    try:
        model, info = auto_class.from_pretrained(
            entry.path,
            dtype=getattr(torch, dtype),
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            **({} if device.kind == "cpu" else {"device_map": {"": device.torch_device}}),
        )
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ModelBroken(
            f"transformers cannot load {entry.name}: {type(error).__name__}: {str(error)[:300]}"
        ) from error
    _require_complete(
        info["missing_keys"], is_scorer=auto_class.__name__.endswith("Classification")
    )
    own_memory([model])
    return model.eval().requires_grad_(False)


def _require_complete(missing: Any, *, is_scorer: bool) -> None:
    """transformers makes up at random what a file does not have. An encoder's own pooler is not
    used, and many files do not have it.
    """
    names = sorted(
        name for name in missing if is_scorer or not name.startswith(("pooler.", "bert.pooler."))
    )
    if names:
        raise ModelBroken(
            f"{len(names)} weights are missing, such as {', '.join(names[:MAX_NAMED])[:300]}; "
            "copy the whole checkpoint"
        )
