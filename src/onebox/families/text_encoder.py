"""Family `text_encoder`: models that make a vector of a text, as sentence-transformers folders and
as plain ones of transformers.
"""

from __future__ import annotations

from onebox.core.contracts import Bundle, Device, Entry, Family
from onebox.core.on_disk import Match, OnDisk
from onebox.core.plugins import FAMILIES
from onebox.core.remote_code import refuse_remote_code
from onebox.core.weight_sizes import bytes_as
from onebox.language.checkpoints.checkpoint_files import CONFIG, class_name, weight_files
from onebox.language.encoding.checkpoint import MODULES, encoder_facts, require_encoder
from onebox.language.encoding.encoder import EncoderBundle

# What may be an encoder of texts without files of sentence-transformers: models that see a text
# from both sides.
MODEL_TYPES = frozenset(
    {
        "albert", "bert", "big_bird", "camembert", "convbert", "data2vec-text", "deberta",
        "deberta-v2", "distilbert", "electra", "ernie", "eurobert", "flaubert", "fnet", "funnel",
        "gte", "ibert", "jina_embeddings_v3", "layoutlm", "longformer", "luke", "megatron-bert",
        "mobilebert", "modernbert", "mpnet", "mra", "nomic_bert", "nystromformer", "rembert",
        "roberta", "roberta-prelayernorm", "roformer", "squeezebert", "xlm", "xlm-roberta",
        "xlm-roberta-xl", "xmod", "yoso",
    }
)  # fmt: skip
CLASS_ENDINGS = ("Model", "ForMaskedLM", "ForPreTraining", "WithLMHeadModel")
# With files of sentence-transformers also what was made to write, or to read and write.
MODULES_ENDINGS = (*CLASS_ENDINGS, "ForCausalLM", "LMHeadModel", "ForConditionalGeneration")


class TextEncoder(Family):
    name = "text_encoder"
    engine = "piecewise"
    tasks = frozenset({"embeddings", "similarity"})

    def matches(self, on_disk: OnDisk) -> Match | None:
        kind = class_name(on_disk)
        if kind is None or not _is_encoder(on_disk, kind):
            return None
        refuse_remote_code(on_disk)
        require_encoder(on_disk)
        return Match(kind, encoder_facts(on_disk))

    def estimate(self, on_disk: OnDisk, device: Device) -> int:
        return encoder_bytes(on_disk)

    def load(self, entry: Entry, device: Device) -> Bundle:
        from onebox.language.encoding.loading import load_encoder

        return EncoderBundle(load_encoder(entry, device))

    def warm_up(self) -> None:
        from onebox.language.checkpoints.loading import silence

        silence()
        from transformers import AutoModel, AutoTokenizer  # noqa: F401
        from transformers.models.bert import modeling_bert  # noqa: F401


def encoder_bytes(on_disk: OnDisk) -> int:
    """Bytes of the weights in float32, which is what they are loaded in unless told otherwise."""
    files = [*weight_files(on_disk), *_module_files(on_disk)]
    return sum(bytes_as(on_disk.tensors(name).values(), "float32") for name in files)


def _module_files(on_disk: OnDisk) -> list[str]:
    return [name for name in on_disk.files if name.endswith("/model.safetensors")]


def _is_encoder(on_disk: OnDisk, kind: str) -> bool:
    config = on_disk.read_json(CONFIG)
    if "vision_config" in config:
        return False
    if MODULES in on_disk.files:
        return kind.endswith(MODULES_ENDINGS)
    return config.get("model_type") in MODEL_TYPES and kind.endswith(CLASS_ENDINGS)


FAMILIES.register(TextEncoder.name, TextEncoder())
