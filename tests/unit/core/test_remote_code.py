from __future__ import annotations

import pytest

from onebox.core.errors import ModelBroken
from onebox.core.remote_code import refuse_remote_code


class Folder:
    """A checkpoint that is a dict: relative path → JSON."""

    def __init__(self, files):
        self.files = dict.fromkeys(files, 1)
        self._json = files

    def read_json(self, relative):
        return self._json[relative]


HARMLESS = [
    {"pipeline.py": None, "unet/modeling.py": None},  # lies there, and nothing asks for it
    {"model_index.json": {"_class_name": "StableDiffusionPipeline"}, "vae/config.json": {}},
    {"config.json": {"auto_map": {}, "trust_remote_code": False}},
    {"config.json": {"_attn_implementation": "sdpa"}},
    {"config.json": {"_name_or_path": "org/model", "layers": [1, "a/b", None]}},
    {"notes.json": {"auto_map": {"AutoModel": "x.Y"}}},
]
HARMFUL = [
    ({"config.json": {"auto_map": {"AutoModel": "x.Y"}}}, "auto_map"),
    ({"config.json": {"trust_remote_code": True}}, "trust_remote_code"),
    ({"model_index.json": {"custom_pipeline": "org/code"}}, "custom_pipeline"),
    ({"tokenizer/tokenizer_config.json": {"auto_map": {"AutoTokenizer": ["x", None]}}}, "auto_map"),
    ({"config.json": {"text_config": {"auto_map": {"AutoModel": "x.Y"}}}}, "auto_map"),
    ({"config.json": {"parts": [[{"custom_pipelines": ["x"]}]]}}, "custom_pipelines"),
    ({"config.json": {"_attn_implementation_internal": "evil/kernel"}}, "evil/kernel"),
    ({"config.json": {"vision": {"attn_implementation": "evil/kernel"}}}, "evil/kernel"),
]


@pytest.mark.parametrize("files", HARMLESS)
def test_a_plain_checkpoint_passes(files):
    refuse_remote_code(Folder(files))


@pytest.mark.parametrize(("files", "named"), HARMFUL)
def test_what_brings_code_is_refused_and_the_place_named(files, named):
    with pytest.raises(ModelBroken) as caught:
        refuse_remote_code(Folder(files))
    assert named in caught.value.message
    assert next(iter(files)) in caught.value.message
