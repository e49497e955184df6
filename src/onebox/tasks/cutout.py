"""Task `cutout`: the foreground of a picture, on nothing, or its matte.

curl -s localhost:8000/v1/tasks/cutout -H "Authorization: Bearer $KEY" \\
     -F model=u2netp -F image=@coffee.png -H 'Accept: image/png' -o cup.png
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from onebox.core.contracts import Device, Entry, RunContext, Task, TaskDefaults
from onebox.core.errors import InvalidInput
from onebox.core.media import MediaRef
from onebox.core.plugins import TASKS
from onebox.core.results import Output
from onebox.hardware.memory import HOST_POOL
from onebox.imaging.mattes import decontaminated, hardened
from onebox.imaging.opening import MAX_PIXELS, on_white, open_picture, probe, text_of
from onebox.imaging.segmentation.labels import chosen_labels
from onebox.imaging.segmentation.matte import SURE, confidence, edge_sharpness, matte_of
from onebox.tasks.picture_input import require_room

# Working memory for each pixel of what the model is shown: u2netp took so much in float32 (peak
# resident memory on a CPU). A measured peak replaces it.
RESERVE_BYTES_PER_PIXEL = 2400
# The picture, as it came and on white, its matte, the cut-out, and what cleans its edges.
OPENED_BYTES_PER_PIXEL = 24
DIGITS = 4

Label = Annotated[str, Field(min_length=1, max_length=200)]


class CutoutInput(BaseModel):
    """What to cut out of which picture."""

    image: MediaRef = Field(description="PNG, JPEG or WebP.")
    labels: list[Label] | None = Field(
        default=None,
        min_length=1,
        max_length=100,
        description="Only what bears one of these labels, with a model that knows labels.",
    )
    output: Literal["cutout", "matte"] = Field(
        default="cutout",
        description="`cutout`: the picture with an alpha channel; `matte`: that channel alone.",
    )
    output_format: Literal["png", "webp", "jpeg"] = Field(
        default="png", description="In jpeg, which has no alpha, the cut-out lies on white."
    )
    output_compression: int = Field(
        default=90, ge=0, le=100, description="Quality of jpeg and webp."
    )
    clean_edges: bool = Field(
        default=False,
        description="Give soft edges the colours of what is cut out, so that nothing of the old "
        "background shines around it; everything solid keeps its pixels.",
    )
    keep_text: bool = Field(
        default=False,
        description="Keep what the text chunks of a PNG say, such as prompt and seed, in a png "
        "or webp.",
    )


class Cutout(Task[CutoutInput]):
    name = "cutout"
    summary = "Cut the foreground out of a picture"
    needs = "a segmentation model (`onebox pull starter` brings u2netp)"
    Input = CutoutInput

    def resolve(self, request: CutoutInput, entry: Entry, defaults: TaskDefaults) -> CutoutInput:
        facts = probe(request.image.data or b"", "image")
        require_room(request.output_format, facts.width, facts.height)
        return request

    def check(self, request: CutoutInput, entry: Entry) -> None:
        chosen_labels(entry.facts["labels"], request.labels)
        if request.keep_text and request.output_format == "jpeg":
            raise InvalidInput(
                "jpeg has no room for all text; take png or webp to keep it", param="keep_text"
            )
        if request.clean_edges and request.output == "matte":
            raise InvalidInput("a matte has no colours; leave it out", param="clean_edges")

    def reserve_bytes(self, request: CutoutInput, entry: Entry, device: Device) -> int:
        seen: int = entry.facts["pixels"] * RESERVE_BYTES_PER_PIXEL
        opened = _pixels(request) * OPENED_BYTES_PER_PIXEL if device.pool == HOST_POOL else 0
        return seen + opened

    def size_class(self, request: CutoutInput) -> str:
        """Up to 1, 2, 4, … million pixels."""
        return f"{1 << (_pixels(request) // 1_000_000).bit_length()} MP"

    def run(self, bundle: Any, request: CutoutInput, context: RunContext) -> list[Output]:
        raw = context.read(request.image)
        picture = open_picture(raw, "image", alpha=True)
        flat = on_white(picture)
        context.check()
        labels = chosen_labels(context.entry.facts["labels"], request.labels)
        seen = bundle.segmenter.see(flat, labels)
        context.step(1, 1)
        if not (seen >= SURE).any():
            raise InvalidInput(
                "nothing in the picture stands out as foreground "
                f"(the likeliest pixel has {float(seen.max()):.2f}, and {SURE} is needed)"
                if not labels
                else "none of these labels is in the picture",
                param="image" if not labels else "labels",
            )
        matte = matte_of(seen, picture.size, stretched=bundle.segmenter.stretches)
        text = text_of(raw, "image") if request.keep_text else {}
        return [replace(_output(request, picture, matte, seen), embedded=text)]


def takes_anything(entry: Entry) -> bool:
    """Whether it takes whatever stands in front, not only what it knows by name."""
    return not entry.facts.get("labels")


def _pixels(request: CutoutInput) -> int:
    """Of the picture, by its header; of one that was stored before, as many as may be.

    Raises InvalidInput.
    """
    if request.image.data is None:
        return MAX_PIXELS
    facts = probe(request.image.data, "image")
    return facts.width * facts.height


def _output(request: CutoutInput, picture: Any, matte: Any, seen: Any) -> Output:
    """What was transparent before stays so; the colours are the picture's own, but for soft edges
    that are to be cleaned.
    """
    from PIL import ImageChops

    if picture.mode == "RGBA":
        matte = ImageChops.multiply(matte, picture.getchannel("A"))
    value = matte
    if request.output == "cutout":
        value = picture.convert("RGB")
        if request.clean_edges:
            value = decontaminated(value, hardened(matte))
        value.putalpha(matte)
    return Output(
        "image",
        value,
        options={"format": request.output_format, "quality": request.output_compression},
        meta={
            "width": picture.width,
            "height": picture.height,
            "confidence": round(confidence(seen), DIGITS),
            "edge_sharpness": round(edge_sharpness(seen), DIGITS),
        },
    )


TASKS.register(Cutout.name, Cutout())
