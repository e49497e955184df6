"""Family `ip_adapter`: IP-Adapters for Stable Diffusion, which let it follow a picture.

One is used beside the checkpoint that a request names, together with an image encoder.
"""

from __future__ import annotations

from collections.abc import Mapping

from onebox.core.contracts import Bundle, Device, Entry, Family
from onebox.core.errors import ModelBroken, TaskNotSupported
from onebox.core.on_disk import Match, OnDisk, TensorInfo
from onebox.core.plugins import FAMILIES
from onebox.core.weight_sizes import bytes_as

PROJECTION = "image_proj."
ATTENTION = "ip_adapter."
# Width of what a denoiser's attention looks at → its base, as the facts of checkpoints have it.
BASES = {768: "sd1", 1024: "sd2", 2048: "sdxl"}
# Key that tells a kind → its name, the weight that takes what the image encoder makes, and what
# that is: one vector, or the hidden states.
KINDS = {
    "proj.weight": ("IP-Adapter", "proj.weight", "projection_dim"),
    "proj.3.weight": ("IP-Adapter Full", "proj.0.weight", "hidden_size"),
    "latents": ("IP-Adapter Plus", "proj_in.weight", "hidden_size"),
}


class IpAdapter(Family):
    name = "ip_adapter"
    tasks = frozenset()

    def matches(self, on_disk: OnDisk) -> Match | None:
        header = _header(on_disk)
        if header is None:
            return None
        kind, facts = _kind(header)
        widths = _attention_widths(header)
        base = BASES.get(widths["text_width"], "unknown")
        return Match(kind, {"base": base, **facts, **widths})

    def estimate(self, on_disk: OnDisk, device: Device) -> int:
        return bytes_as((_header(on_disk) or {}).values(), device.dtype)

    def load(self, entry: Entry, device: Device) -> Bundle:
        raise TaskNotSupported(
            f"{entry.name} is an IP-Adapter and runs beside another model; name it in ip_adapter",
            param="model",
        )


def _header(on_disk: OnDisk) -> Mapping[str, TensorInfo] | None:
    """Of a file that is an IP-Adapter by its keys."""
    name = on_disk.path.name
    if on_disk.is_folder or not name.endswith(".safetensors"):
        return None
    header = on_disk.tensors(name)
    known = all(key.startswith((PROJECTION, ATTENTION)) for key in header)
    return header if known and f"{ATTENTION}1.to_k_ip.weight" in header else None


def _kind(header: Mapping[str, TensorInfo]) -> tuple[str, dict[str, int]]:
    """What it is called, and how wide what the image encoder makes must be. Raises ModelBroken."""
    for telling, (kind, key, fact) in KINDS.items():
        taking = header.get(PROJECTION + key)
        if PROJECTION + telling in header and taking is not None:
            return kind, {fact: taking.shape[-1]}
    raise ModelBroken(
        "an IP-Adapter of a kind that is not served, such as one for face features (FaceID); use a "
        "plain, plus or full-face one"
    )


def _attention_widths(header: Mapping[str, TensorInfo]) -> dict[str, int]:
    """How wide what the denoiser's layers look at is, and how many such layers there are."""
    keys = [key for key in header if key.startswith(ATTENTION) and key.endswith("to_k_ip.weight")]
    widths = {header[key].shape[-1] for key in keys}
    if len(widths) != 1:
        raise ModelBroken("an IP-Adapter whose layers do not fit together; copy it again")
    return {"text_width": widths.pop(), "layers": len(keys)}


FAMILIES.register(IpAdapter.name, IpAdapter())
