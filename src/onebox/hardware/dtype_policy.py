"""The one place that decides what weights are computed in.

| device | weights | image decoder |
|---|---|---|
| CUDA from 8.0 (Ampere) | bfloat16 | bfloat16 |
| CUDA below | float16 | float32: Stable Diffusion XL's decoder overflows in float16 |
| CUDA whose float16 is broken (GTX 16xx and kin) | float32 | float32 |
| ROCm on CDNA, RDNA 3 and later | bfloat16 | bfloat16 |
| ROCm below | float16 | float32 |
| MPS | float16 | float32: bfloat16 gives black pictures |
| XPU | bfloat16, else float16 | bfloat16, else float32 |
| CPU with AVX512_BF16, AMX or ARM's BF16 | bfloat16 | bfloat16 |
| CPU without | float32 | float32 |

bfloat16 has the range of float32, so the decoder cannot overflow in it; on a CPU that has it a 3x3
convolution took 14 ms where float32 took 31 ms (128 channels, 128x128, one Zen 5 thread), and
decoding is much of a picture's time there. float64 is never used: MPS has none.
"""

from __future__ import annotations

from onebox.core.contracts import DeviceKind, DtypeName

# Turing without tensor cores: half precision gives black pictures (known from ComfyUI and its kin).
_BROKEN_HALF = (
    "GTX 16",
    "T500",
    "T550",
    "T600",
    "MX450",
    "MX550",
    "T1000",
    "T1200",
    "T2000",
    "CMP 30HX",
)
_ROCM_WITH_BF16 = ("gfx908", "gfx90a", "gfx94", "gfx95", "gfx11", "gfx12")
_WITHOUT_BF16: dict[DeviceKind, DtypeName] = {
    "cuda": "float16",
    "rocm": "float16",
    "mps": "float16",
    "xpu": "float16",
    "cpu": "float32",
}


def dtypes_for(
    kind: DeviceKind,
    *,
    compute_capability: tuple[int, int] | None = None,
    bf16: bool = False,
    name: str = "",
) -> tuple[DtypeName, DtypeName]:
    """Dtype of the weights and of the image decoder.

    Args:
        bf16: whether the device computes in bfloat16; CUDA is judged by its capability instead.
        name: the card's name, for cards whose half precision is broken.
    """
    if kind == "cuda":
        bf16 = compute_capability is not None and compute_capability >= (8, 0)
    if bf16 and kind != "mps":
        return "bfloat16", "bfloat16"
    if (
        kind == "cuda"
        and compute_capability == (7, 5)
        and any(part in name for part in _BROKEN_HALF)
    ):
        return "float32", "float32"
    return _WITHOUT_BF16[kind], "float32"


def rocm_has_bf16(architecture: str) -> bool:
    """Whether an AMD card has bfloat16 in hardware; torch says yes for all and emulates it."""
    return architecture.startswith(_ROCM_WITH_BF16)
