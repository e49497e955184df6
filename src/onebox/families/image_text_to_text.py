"""Family `image_text_to_text`: models that look at pictures and write, as transformers folders."""

from __future__ import annotations

from onebox.core.contracts import Bundle, Device, Entry, Family
from onebox.core.errors import ModelBroken
from onebox.core.on_disk import Match, OnDisk
from onebox.core.plugins import FAMILIES
from onebox.core.remote_code import refuse_remote_code
from onebox.families.causal_lm import TASKS, folder_bytes, load_bundle
from onebox.language.checkpoints.checkpoint_files import (
    CONFIG,
    class_name,
    has_chat_template,
    optional_json,
    require_loadable,
)
from onebox.language.checkpoints.model_facts import config_facts, generation_defaults

CLASS_ENDINGS = ("ForConditionalGeneration", "ForImageTextToText", "ForVision2Seq")
PROCESSORS = ("preprocessor_config.json", "processor_config.json")


class ImageTextToText(Family):
    name = "image_text_to_text"
    engine = "decode"
    tasks = TASKS

    def matches(self, on_disk: OnDisk) -> Match | None:
        kind = class_name(on_disk)
        if kind is None or not kind.endswith(CLASS_ENDINGS):
            return None
        config = on_disk.read_json(CONFIG)
        # A text that is read first and written after is another way of computing.
        if not config.get("vision_config") or config.get("is_encoder_decoder") is True:
            return None
        refuse_remote_code(on_disk)
        require_loadable(on_disk)
        if not any(name in on_disk.files for name in PROCESSORS):
            raise ModelBroken(f"{PROCESSORS[0]} is missing; copy the whole checkpoint")
        told = optional_json(on_disk, "generation_config.json")
        facts = config_facts(config, vision=True) | {
            "chat": has_chat_template(on_disk),
            "defaults": generation_defaults(told),
        }
        return Match(kind, facts)

    def estimate(self, on_disk: OnDisk, device: Device) -> int:
        return folder_bytes(on_disk, device)

    def load(self, entry: Entry, device: Device) -> Bundle:
        from onebox.language.checkpoints.loading import load_vision_model

        return load_bundle(load_vision_model, entry, device)

    def warm_up(self) -> None:
        from onebox.language.checkpoints.loading import silence

        silence()
        from transformers import AutoModelForImageTextToText, AutoProcessor  # noqa: F401


FAMILIES.register(ImageTextToText.name, ImageTextToText())
