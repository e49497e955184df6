"""How strong a LoRA is where its tensors do not tell: PEFT's configuration of an adapter.

It lies beside the weights as `adapter_config.json`, or in their metadata with the name of a
component before each key. Either comes with the file, so it is judged like any input.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from onebox.core.errors import ModelBroken
from onebox.core.on_disk import ADAPTER_CONFIG
from onebox.imaging.diffusion.lora_keys import DENOISER, LayerName

# Ways to begin a training that change the model's own weights as well.
_OTHER_WEIGHTS = ("pissa", "olora", "corda", "loftq")
_DENOISERS = ("unet.", "transformer.", "")
# Patterns are expressions; those that libraries write name how a layer's name ends or, after a "^",
# the whole of it.
_PLAIN = re.compile(r"\^?(?:[\w.]|\\\.)+\$?")
# No layer's name has more pieces.
_PIECES = 40


class Strengths:
    """What a configuration says of alphas.

    Args:
        bare: its keys have no component before them and go for every layer.
    """

    def __init__(self, values: Mapping[str, Any], *, bare: bool = False) -> None:
        self._values = values
        self._bare = bare
        self._patterns: dict[str, dict[str, tuple[int, Any]]] = {}

    def alpha(self, name: LayerName) -> float | None:
        """None where it says nothing."""
        patterns = self._patterns_of(name)
        pieces = name.layer.split("_")[-_PIECES:] if patterns else []
        ends = ("_".join(pieces[start:]) for start in range(len(pieces)))
        fitting = (f"^{name.layer}", *ends)
        found = [patterns[one] for one in fitting if one in patterns]
        # Of several that fit the first counts.
        return _number(min(found)[1] if found else self._value(name, "lora_alpha"))

    def rooted(self, name: LayerName) -> bool:
        """Whether alpha goes by the root of the rank."""
        return self._value(name, "use_rslora") is True

    def _patterns_of(self, name: LayerName) -> dict[str, tuple[int, Any]]:
        if name.component not in self._patterns:
            said = self._value(name, "alpha_pattern")
            self._patterns[name.component] = {
                _layer(pattern): (number, alpha)
                for number, (pattern, alpha) in enumerate(
                    said.items() if isinstance(said, dict) else ()
                )
                if _number(alpha) is not None
            }
        return self._patterns[name.component]

    def _value(self, name: LayerName, key: str) -> Any:
        if self._bare:
            return self._values.get(key)
        prefixes = _DENOISERS if name.component == DENOISER else (f"{name.component}.",)
        return next((self._values[p + key] for p in prefixes if p + key in self._values), None)


def refuse_config(config: Mapping[str, Any]) -> None:
    """Raises ModelBroken for the configuration of an adapter that cannot be applied."""
    kind = config.get("peft_type")
    if kind != "LORA":
        raise ModelBroken(f"{ADAPTER_CONFIG} says that it is {str(kind)[:40]}; LORA can be used")
    if not math.isfinite(_number(config.get("lora_alpha")) or math.nan):
        raise ModelBroken(f"{ADAPTER_CONFIG} has no lora_alpha; save the adapter again")
    start = config.get("init_lora_weights")
    if isinstance(start, str) and start.lower().startswith(_OTHER_WEIGHTS):
        raise ModelBroken(
            f"it began from {start[:40]}, which changed the model too; save it with "
            "path_initial_model_for_weight_conversion"
        )
    patterns = config.get("alpha_pattern")
    for pattern in patterns if isinstance(patterns, dict) else ():
        if not _PLAIN.fullmatch(pattern):
            raise ModelBroken(
                f"{ADAPTER_CONFIG} has the expression {pattern[:100]!r} in alpha_pattern; names "
                "of layers are read"
            )


def _layer(pattern: str) -> str:
    """ "^blocks\\.0\\.attn$" → "^blocks_0_attn"."""
    start = "^" if pattern.startswith("^") else ""
    name = pattern.removeprefix("^").removesuffix("$").replace("\\", "").replace(".", "_")
    return start + name.removeprefix("text_model_")


def _number(value: Any) -> float | None:
    """None for what is none; infinite for one that is too large."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf
