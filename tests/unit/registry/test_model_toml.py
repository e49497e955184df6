from __future__ import annotations

import pytest

from onebox.core.errors import ModelBroken
from onebox.registry.model_toml import MAX_BYTES, parse_model_toml

WHOLE = """
aliases = ["turbo", "fast"]
dtype = "bfloat16"
quantization = "int8"
compile = true
pin = true
idle_timeout = 60
licence = "non-commercial"
loras = ["style.safetensors", { path = "loras/line.safetensors", scale = 0.5 }]
[defaults]
steps = 4
[components]
vae = "org/better-vae"
"""


def test_every_known_key() -> None:
    assert parse_model_toml(WHOLE.encode()) == {
        "aliases": ["turbo", "fast"],
        "dtype": "bfloat16",
        "quantization": "int8",
        "compile": True,
        "pin": True,
        "idle_timeout": 60.0,
        "licence": "non-commercial",
        "loras": ["style.safetensors", {"path": "loras/line.safetensors", "scale": 0.5}],
        "defaults": {"steps": 4},
        "components": {"vae": "org/better-vae"},
    }


def test_what_is_left_out_is_not_there() -> None:
    assert parse_model_toml(b"") == {}
    assert parse_model_toml(b"pin = true\nnew_key = 1") == {"pin": True}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("pin = ", "onebox.toml"),
        ('pin = "yes"', "pin"),
        ('aliases = "turbo"', "aliases"),
        ("aliases = [1]", "aliases"),
        ('dtype = "int4"', "dtype"),
        ('quantization = "int2"', "quantization"),
        ("idle_timeout = -1", "negative"),
        ("idle_timeout = nan", "negative"),
        ("defaults = 3", "defaults"),
        ('loras = ["../../etc/passwd"]', "leaves the model folder"),
        ('loras = [{ path = "/etc/passwd" }]', "leaves the model folder"),
        ('loras = [{ path = { a = ["..\\\\x"] } }]', "Expected `str`"),
        ('loras = [{ path = "a.safetensors", weight = 1 }]', "unknown field `weight`"),
        ('loras = [{ path = "a.safetensors", scale = 9 }]', "<= 4"),
        ('components = { vae = "C:/x" }', "leaves the model folder"),
        ("x = " + "[" * 50_000, "onebox.toml"),
        ("#" * (MAX_BYTES + 1), "larger than"),
    ],
)
def test_what_is_wrong_is_broken(text: str, reason: str) -> None:
    with pytest.raises(ModelBroken, match=reason):
        parse_model_toml(text.encode())


def test_what_is_not_text_is_broken() -> None:
    with pytest.raises(ModelBroken, match=r"onebox\.toml"):
        parse_model_toml(b"\xff\xfe")
