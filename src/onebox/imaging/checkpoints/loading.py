"""Loads one component of a pipeline from a weight file in the layout of its first authors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onebox.core.errors import ModelBroken
from onebox.imaging.checkpoints.flux_weights import flux_weights
from onebox.imaging.checkpoints.text_weights import clip_weights, t5_weights

MAX_NAMED = 3


@dataclass(frozen=True, slots=True)
class Part:
    """Where the weights of one component lie.

    Attributes:
        file: a safetensors file.
        prefix: what the names of its tensors begin with there.
        others: the same for components that are not meant.
        config: the component's folder in a configuration tree.
        class_name: of diffusers or transformers.
        overrides: values that the file knows better than the tree.
        left_out: tensors that are not wanted.
    """

    file: Path
    prefix: str
    others: tuple[str, ...]
    config: Path
    class_name: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()


def load_part(part: Part, dtype: Any) -> Any:
    """The component, in evaluation mode on the CPU.

    Raises ModelBroken when the file and the configuration do not go together.
    """
    found = _tensors(part)
    if part.class_name.startswith("CLIPText"):
        return _text_encoder(part, found, dtype, clip=True)
    if part.class_name == "T5EncoderModel":
        return _text_encoder(part, found, dtype, clip=False)
    return _image_model(part, found, dtype)


def _tensors(part: Part) -> dict[str, Any]:
    """Name without prefix → tensor. The file is mapped, not read, until they are used."""
    from safetensors import safe_open

    foreign = tuple(other for other in part.others if other and other != part.prefix)
    with safe_open(part.file, framework="pt") as opened:
        names = [name for name in opened.keys() if name.startswith(part.prefix)]  # noqa: SIM118
        found = {
            name.removeprefix(part.prefix): opened.get_tensor(name)
            for name in names
            if not (foreign and name.startswith(foreign))
        }
    return {name: value for name, value in found.items() if name not in part.left_out}


def _text_encoder(part: Part, found: dict[str, Any], dtype: Any, *, clip: bool) -> Any:
    import transformers

    model_class = getattr(transformers, part.class_name)
    config = model_class.config_class.from_pretrained(str(part.config), local_files_only=True)
    if clip:
        projected = part.class_name.endswith("WithProjection")
        weights = clip_weights(found, config.to_dict(), projected=projected)
    else:
        weights = t5_weights(found)
    try:
        model, report = model_class.from_pretrained(
            None, config=config, state_dict=weights, dtype=dtype, output_loading_info=True
        )
    except RuntimeError:
        # The library tells of tensors of another shape in no other way.
        raise _other_shape(part.config.name) from None
    if report["missing_keys"]:
        raise _incomplete(part.config.name, report["missing_keys"])
    return model.eval()


def _image_model(part: Part, found: dict[str, Any], dtype: Any) -> Any:
    import diffusers

    model_class = getattr(diffusers, part.class_name)
    tree, name = str(part.config.parent), part.config.name
    config = {**model_class.load_config(tree, subfolder=name), **part.overrides}
    try:
        converted = converted_names(part.class_name, found, config)
    except (KeyError, IndexError):
        # The converters of diffusers take the tensors they know of for granted.
        raise _incomplete(name, ()) from None
    weights = _exactly(model_class, config, converted, name)
    model: Any = model_class.from_single_file(
        weights,
        config=tree,
        subfolder=name,
        local_files_only=True,
        dtype=dtype,
        **part.overrides,
    )
    return model


def converted_names(
    class_name: str, found: dict[str, Any], config: dict[str, Any]
) -> dict[str, Any]:
    """The tensors of a model of diffusers, from the names of its first authors to its own.

    Raises KeyError when one is missing.
    """
    from diffusers.loaders import single_file_utils as utils

    if class_name == "FluxTransformer2DModel":
        return flux_weights(found)
    if class_name == "SD3Transformer2DModel":
        return dict(utils.convert_sd3_transformer_checkpoint_to_diffusers(dict(found)))
    prefix, convert = {
        "UNet2DConditionModel": (utils.LDM_UNET_KEY, utils.convert_ldm_unet_checkpoint),
        "AutoencoderKL": (utils.LDM_VAE_KEYS[0], utils.convert_ldm_vae_checkpoint),
    }[class_name]
    return dict(convert({f"{prefix}{name}": value for name, value in found.items()}, config))


def _exactly(
    model_class: Any, config: dict[str, Any], weights: dict[str, Any], name: str
) -> dict[str, Any]:
    """The tensors that the model has, no other; diffusers leaves out what is missing unsaid."""
    import torch

    with torch.device("meta"):
        wanted = model_class.from_config(config).state_dict()
    missing = [tensor for tensor in wanted if weights.get(tensor) is None]
    if missing and not weights.keys() <= wanted.keys():
        raise _other_shape(name)
    if missing:
        raise _incomplete(name, missing)
    if any(weights[tensor].shape != value.shape for tensor, value in wanted.items()):
        raise _other_shape(name)
    return {tensor: weights[tensor] for tensor in wanted}


def _incomplete(name: str, missing: Any) -> ModelBroken:
    named = ", ".join(sorted(missing)[:MAX_NAMED])
    count = f"{len(missing)} tensors of its {name} are" if missing else f"a part of its {name} is"
    return ModelBroken(f"{count} missing{f' ({named})' if named else ''}; copy the file again")


def _other_shape(name: str) -> ModelBroken:
    return ModelBroken(
        f"its {name} has another shape than the configuration says; name a diffusers folder of the "
        'same shape in its onebox.toml: [components] config = "..."'
    )
