"""Segmenter of models that transformers has: each pixel is given a label.

Two kinds: those that say for each pixel how likely each label is, and those that draw masks and say
what each of them shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from onebox.core.cancel import check_now
from onebox.core.errors import ModelBroken
from onebox.core.weight_sizes import own_memory, resident_bytes
from onebox.imaging.segmentation.contracts import Segmenter

PIXEL_CLASSES = frozenset(
    {
        "BeitForSemanticSegmentation",
        "Data2VecVisionForSemanticSegmentation",
        "DPTForSemanticSegmentation",
        "MobileNetV2ForSemanticSegmentation",
        "MobileViTForSemanticSegmentation",
        "MobileViTV2ForSemanticSegmentation",
        "SegformerForSemanticSegmentation",
        "UperNetForSemanticSegmentation",
    }
)
MASK_CLASSES = frozenset(
    {
        "DetrForSegmentation",
        "Mask2FormerForUniversalSegmentation",
        "MaskFormerForInstanceSegmentation",
    }
)
# Sides of what the model sees, where only one is told: pixels that every backbone can halve.
MULTIPLE = 32
SIDE = 512
MAX_SIDE = 1344


class LibrarySegmenter(Segmenter):
    """Owns a library model, and what makes its input of a picture."""

    stretches = False

    def __init__(self, model: Any, processor: Any) -> None:
        self._model, self._processor = model, processor
        self._read = _of_masks if type(model).__name__ in MASK_CLASSES else _of_pixels
        self.size_bytes = resident_bytes([model])
        _make_interruptible(model)

    def see(self, picture: Any, labels: Sequence[int]) -> Any:
        import torch
        from PIL import Image

        size = seen_size(picture.size, _told_size(self._processor))
        # Cropping and padding would leave open what the answer is about.
        made = self._processor(
            images=[picture.resize(size, Image.Resampling.BICUBIC)],
            do_resize=False,
            do_center_crop=False,
            return_tensors="pt",
        )
        with torch.inference_mode():
            pixels = made["pixel_values"].to(self._model.device, self._model.dtype)
            likely = self._read(self._model(pixel_values=pixels))
            chosen = likely[list(labels)].sum(0) if labels else likely[0]
            return chosen.float().cpu().numpy()

    def close(self) -> None:
        del self._model, self._processor


def load_library_model(path: str, kind: str, device: str, dtype: Any) -> LibrarySegmenter:
    """Raises ModelBroken for what cannot be loaded."""
    from transformers import (
        AutoImageProcessor,
        AutoModelForSemanticSegmentation,
        AutoModelForUniversalSegmentation,
    )

    auto_class: Any = AutoModelForSemanticSegmentation
    if kind in MASK_CLASSES:
        auto_class = AutoModelForUniversalSegmentation
    local = {"local_files_only": True, "trust_remote_code": False}
    try:
        processor = AutoImageProcessor.from_pretrained(path, **local)
        model, info = auto_class.from_pretrained(
            path, dtype=dtype, use_safetensors=True, output_loading_info=True, **local
        )
    except Exception as error:  # Of as many kinds as there are ways to spoil such files.
        raise ModelBroken(
            f"the model cannot be loaded: {type(error).__name__}: {str(error)[:300]}"
        ) from error
    missing = sorted(info["missing_keys"])
    if missing:
        raise ModelBroken(
            f"{len(missing)} weights are missing, such as {missing[0][:200]}; copy the whole "
            "checkpoint"
        )
    own_memory([model])
    return LibrarySegmenter(model.eval().requires_grad_(False).to(device), processor)


def seen_size(size: tuple[int, int], told: Mapping[str, int]) -> tuple[int, int]:
    """Width and height of what the model is shown of a picture.

    Args:
        told: by the model's preprocessor: height and width, or the shortest and the longest edge,
            and then the picture keeps about its shape.
    """
    if "height" in told and "width" in told:
        return told["width"], told["height"]
    shortest = told.get("shortest_edge", SIDE)
    longest = min(told.get("longest_edge", MAX_SIDE), MAX_SIDE)
    scale = min(shortest / min(size), longest / max(size))
    width, height = (max(1, round(side * scale / MULTIPLE)) * MULTIPLE for side in size)
    return width, height


def working_pixels(told: Mapping[str, Any]) -> int:
    """The most that the model is shown of any picture; `told` as for `seen_size`."""
    sides = {name: side for name, side in told.items() if isinstance(side, int) and side > 0}
    if "height" in sides and "width" in sides:
        return sides["height"] * sides["width"]
    longest = min(sides.get("longest_edge", MAX_SIDE), MAX_SIDE)
    return min(sides.get("shortest_edge", SIDE), longest) * longest


def _told_size(processor: Any) -> dict[str, int]:
    told = dict(processor.size or {})
    return {name: int(side) for name, side in told.items() if isinstance(side, int) and side > 0}


def _of_pixels(answer: Any) -> Any:
    """How likely each label is: [labels, height, width]; of a single one, whether it is there."""
    logits = answer.logits[0].float()
    return logits.sigmoid() if len(logits) == 1 else logits.softmax(0)


def _of_masks(answer: Any) -> Any:
    """The same of masks [queries, height, width] and of what each shows, or that it shows nothing.

    Where masks overlap, what they show shares the pixel.
    """
    import torch

    shown = getattr(answer, "class_queries_logits", None)
    shown, masks = (
        (answer.logits, answer.pred_masks)
        if shown is None
        else (shown, answer.masks_queries_logits)
    )
    classes = shown[0].float().softmax(-1)[:, :-1]
    likely = torch.einsum("ql,qhw->lhw", classes, masks[0].float().sigmoid())
    return likely / likely.sum(0).clamp(min=1.0)


def _make_interruptible(model: Any) -> None:
    """Let a cancel take effect inside a pass: each larger module asks first."""

    def ask(module: Any, inputs: tuple[Any, ...]) -> None:
        check_now()

    for module in model.modules():
        if next(module.children(), None) is not None:
            module.register_forward_pre_hook(ask)
