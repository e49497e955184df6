"""LoRAs, textual inversions and preview decoders of a request, as companions of its checkpoint."""

from __future__ import annotations

from typing import Any

from onebox.core.companions import Companion
from onebox.core.contracts import Entry
from onebox.core.errors import InvalidInput
from onebox.imaging.diffusion.inversion_files import word_of
from onebox.imaging.diffusion.inversions import holds
from onebox.imaging.diffusion.recipe import Adapter
from onebox.tasks.picture_input import DrawingInput, LoraRef

PREVIEW_SLOT = "preview"
# Kinds of weights whose latents are those of another kind.
SAME_LATENTS = {"sd2": "sd1", "sdxl-refiner": "sdxl"}
# The families of what a request may name, which begin the names of its slots.
LORA, INVERSION = "lora", "textual_inversion"
PARAMS = {LORA: "loras", INVERSION: "textual_inversions"}


def own_loras(entry: Entry) -> list[LoraRef] | None:
    """Those that the checkpoint's `onebox.toml` names for every request."""
    named: list[Any] = entry.overrides.get("loras", [])
    given: list[dict[str, Any]] = [
        {"path": lora} if isinstance(lora, str) else lora for lora in named
    ]
    return [LoraRef(model=lora["path"], scale=lora.get("scale", 1.0)) for lora in given] or None


def loras(request: DrawingInput) -> tuple[Adapter, ...]:
    return tuple(Adapter(f"{LORA}:{lora.model}", lora.scale) for lora in request.loras or ())


def textual_inversions(request: DrawingInput) -> tuple[Adapter, ...]:
    return tuple(
        Adapter(f"{INVERSION}:{one.model}", token=one.token)
        for one in request.textual_inversions or ()
    )


def companions_of(request: DrawingInput, entry: Entry) -> tuple[Companion, ...]:
    named = {f"{LORA}:{one.model}": one.model for one in request.loras or ()}
    named |= {f"{INVERSION}:{one.model}": one.model for one in request.textual_inversions or ()}
    found = []
    for slot, model in named.items():
        kind = slot.partition(":")[0]
        found.append(Companion(slot, model, frozenset({kind}), param=PARAMS[kind]))
    if request.partial_images:
        base = str(entry.facts.get("base"))
        facts = {"base": SAME_LATENTS.get(base, base)}
        found.append(
            Companion(PREVIEW_SLOT, None, frozenset({"tiny_decoder"}), facts, required=False)
        )
    return tuple(found)


def require_fit(request: DrawingInput, entry: Entry, slot: str, companion: Entry) -> None:
    """Raises InvalidInput for a LoRA or a textual inversion that was made for another kind of
    checkpoint, and for the latter where no prompt has its word.

    One whose file does not tell what it was made for is compared with the loaded weights, layer
    by layer.
    """
    kind = slot.partition(":")[0]
    if kind not in PARAMS:
        return
    base, made_for = entry.facts.get("base"), companion.facts.get("base")
    if made_for is not None and base != made_for:
        raise InvalidInput(
            f"{companion.name} is for {made_for}, but {entry.name} is {base}; "
            "name one that was made for it",
            param=PARAMS[kind],
            details={"base": base, "made_for": made_for},
        )
    for one in request.textual_inversions or ():
        if slot == f"{INVERSION}:{one.model}":
            _require_word(request, one.token or word_of(companion), companion)


def _require_word(request: DrawingInput, word: str, companion: Entry) -> None:
    if not any(holds(text or "", word) for text in (request.prompt, request.negative_prompt)):
        raise InvalidInput(
            f"no prompt has the word {word!r}, which stands for {companion.name}; write it where "
            "it shall work, or give it another `token`",
            param=PARAMS[INVERSION],
            details={"token": word},
        )
