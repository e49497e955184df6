"""What a single file lacks, found among what is installed."""

from __future__ import annotations

import os
from typing import Any

import msgspec

from onebox.core.contracts import Entry
from onebox.registry.components import completed, sources_of

T5, CLIP, VAE = "text:32128x4096", "text:49408x768", "vae:16"
PARTS = {"transformer": "transformer:99", "vae": VAE, "text_encoder": CLIP, "text_encoder_2": T5}
MISSING = {"vae": VAE, "text_encoder": CLIP, "text_encoder_2": T5}


def tasks_of(family: str, own: Any) -> tuple[str, ...]:
    return tuple(own)


def made(name: str, family: str, extension: str, facts: dict[str, Any], **more: Any) -> Entry:
    return Entry(
        key=name,
        name=name,
        path=f"{os.sep}models{os.sep}{name}{extension}",
        extension=extension,
        size_bytes=1,
        status="ready",
        family=family,
        kind="FluxPipeline",
        tasks=("text-to-image",),
        facts=facts,
        **more,
    )


def alone(named: dict[str, str] | None = None, **facts: Any) -> Entry:
    """A file with nothing but the transformer."""
    own = {
        "base": "flux",
        "parts": {"transformer": "transformer:99"},
        "missing": MISSING,
        "tree": "flux-dev",
        **facts,
    }
    overrides = {} if named is None else {"components": named}
    return made("alone", "image_checkpoint", ".safetensors", own, overrides=overrides)


def folder(name: str = "full", base: str = "flux", **parts: str) -> Entry:
    return made(name, "image_diffusion", "", {"base": base, "parts": parts or PARTS})


def part(name: str, stamp: str) -> Entry:
    return made(name, "image_part", ".safetensors", {"stamp": stamp})


def found(entry: Entry, *others: Entry) -> Entry:
    return completed(entry, sources_of((entry, *others)), tasks_of)


def path(name: str, *more: str) -> str:
    return os.sep.join(("", "models", name, *more))


def test_parts_are_taken_from_an_installed_folder_that_fits() -> None:
    done = found(alone(), folder("other", text_encoder_2="text:1x1"), folder())
    assert done.components == {name: path("full", name) for name in MISSING}
    assert done.status == "ready"


def test_text_encoders_of_their_own_files_fit_and_decoders_are_named_by_hand() -> None:
    files = (part("clip", CLIP), part("t5", T5), part("ae", VAE))
    without = found(alone(), *files)
    assert without.status == "broken"
    assert without.tasks == ()
    assert without.reason is not None
    assert "no vae" in without.reason
    assert '[components] vae = "..."' in without.reason

    done = found(alone({"vae": "ae"}), *files)
    assert done.components == {
        "vae": path("ae.safetensors"),
        "text_encoder": path("clip.safetensors"),
        "text_encoder_2": path("t5.safetensors"),
    }


def test_an_encoder_of_another_kind_of_checkpoint_fits_under_its_own_name() -> None:
    sd3 = folder("sd3", "sd3", transformer="transformer:1", text_encoder=CLIP, text_encoder_3=T5)
    done = found(alone({"vae": "ae"}), sd3, part("ae", VAE))
    assert done.components["text_encoder"] == path("sd3", "text_encoder")
    assert done.components["text_encoder_2"] == path("sd3", "text_encoder_3")


def test_the_parts_of_older_models_come_from_their_own_kind_alone() -> None:
    own = {"base": "sd1", "missing": {"text_encoder": CLIP}, "parts": {"unet": "unet:9"}}
    unet = made("unet", "image_checkpoint", ".safetensors", {**own, "tree": "sd1"})
    flux, sd1 = folder(), folder("sd1", "sd1", unet="unet:9", text_encoder=CLIP)
    assert found(unet, flux, part("clip", CLIP)).status == "broken"
    assert found(unet, flux, sd1).components == {"text_encoder": path("sd1", "text_encoder")}


def test_a_name_in_its_settings_goes_before_what_would_be_found() -> None:
    done = found(alone({"text_encoder_2": "mine.safetensors"}), folder(), part("mine", T5))
    assert done.components["text_encoder_2"] == path("mine.safetensors")
    assert done.components["vae"] == path("full", "vae")


def test_names_that_are_wrong_make_it_broken_with_the_reason() -> None:
    for named, others, said in (
        ({"vae": "nowhere"}, (), "nothing of that name is installed"),
        ({"vae": "clip"}, (part("clip", CLIP),), "clip has none that fits"),
        ({"config": "clip"}, (part("clip", CLIP),), "no diffusers folder of the same shape"),
    ):
        done = found(alone(named), folder(), *others)
        assert done.status == "broken"
        assert said in (done.reason or "")


def test_a_file_of_unusual_shape_takes_its_configuration_from_a_folder_like_it() -> None:
    own = {"base": "flux", "parts": PARTS, "missing": {}}
    odd = made("odd", "image_checkpoint", ".safetensors", own)
    assert "unusual shape" in (found(odd, folder("x", vae="vae:1")).reason or "")

    like = folder("like")
    like.facts["native_size"] = 256
    done = found(odd, folder("sd", "sd1"), like)
    assert done.components == {"config": path("like")}
    assert done.facts["native_size"] == 256


def test_a_named_folder_also_says_of_which_kind_the_file_is() -> None:
    own = {"base": "flux", "parts": PARTS, "missing": {}, "in_channels": 16}
    odd = made("odd", "image_checkpoint", ".safetensors", own)
    facts = {"base": "flux", "parts": PARTS, "in_channels": 16}
    plain = made("b", "image_diffusion", "", facts)
    kontext = made("a", "image_diffusion", "", facts)
    kontext = msgspec.structs.replace(kontext, kind="FluxKontextPipeline", tasks=("edit",))
    assert found(odd, kontext, plain).kind == "FluxPipeline"

    named = msgspec.structs.replace(odd, overrides={"components": {"config": "a"}})
    done = found(named, kontext, plain)
    assert (done.kind, done.tasks) == ("FluxKontextPipeline", ("edit",))
    other = msgspec.structs.replace(named, facts={**own, "in_channels": 48})
    assert found(other, kontext, plain).kind == "FluxPipeline"


def test_what_is_missing_beside_a_folders_configuration_comes_from_that_folder() -> None:
    odd = alone(tree="flux-dev")
    del odd.facts["tree"]
    odd.facts["missing"] = dict.fromkeys(MISSING)
    done = found(odd, folder("a", transformer="transformer:1"), folder("b"))
    assert done.components == {"config": path("b"), **{n: path("b", n) for n in MISSING}}


def test_its_owner_may_say_of_which_kind_it_is_where_shapes_cannot() -> None:
    variant = {"kind": "FluxKontextPipeline", "tasks": ["edit"], "facts": {"tree": "flux-kontext"}}
    file = alone({"config": "flux-kontext"}, variants={"flux-kontext": variant})
    done = found(file, folder())
    assert (done.kind, done.tasks) == ("FluxKontextPipeline", ("edit",))
    assert done.facts["tree"] == "flux-kontext"


def test_a_checkpoint_that_is_broken_already_or_whole_stays_as_it_is() -> None:
    whole = folder()
    assert found(whole) is whole
    broken = made("b", "image_checkpoint", ".safetensors", {"missing": {}, "parts": {}})
    broken = msgspec.structs.replace(broken, status="broken")
    assert found(broken) is broken


def test_what_was_made_of_a_pickle_lies_elsewhere_than_its_entry_says() -> None:
    pickle = made(
        "old",
        "image_checkpoint",
        ".ckpt",
        {"base": "flux", "parts": PARTS, "missing": {}, "tree": "flux-dev"},
        loaded_from="/data/converted/x.safetensors",
    )
    assert found(alone(), pickle).components["vae"] == "/data/converted/x.safetensors"


def test_what_changes_in_a_component_makes_another_entry_of_it() -> None:
    whole = folder()
    first, again = found(alone(), whole), found(alone(), whole)
    changed = found(alone(), msgspec.structs.replace(whole, key="later"))
    assert first.key == again.key
    assert len({alone().key, first.key, changed.key}) == 3
    assert changed.components == first.components


def test_a_part_in_a_folder_is_named_by_its_file_with_or_without_extension() -> None:
    vae = msgspec.structs.replace(part("vae/ae", VAE), path=path("vae", "ae.safetensors"))
    for name in ("ae", "ae.safetensors", "vae/ae"):
        assert found(alone({"vae": name}), folder(), vae).components["vae"] == vae.path


def test_a_part_that_is_a_pickle_nobody_has_used_is_to_be_converted_by_hand() -> None:
    pickle = made("ae", "", ".ckpt", {}, unconverted=True)
    done = found(alone({"vae": "ae.ckpt"}), folder(), pickle)
    assert done.status == "broken"
    assert "onebox convert" in (done.reason or "")


def adapter(named: dict[str, str] | None = None) -> Entry:
    """What is nothing without a whole other checkpoint."""
    wants = {"in_channels": 4, "widths": [32, 64]}
    facts = {"base": "sd1", "parts": {}, "missing": {}, "wants": wants, "needs": "install one"}
    overrides = {} if named is None else {"components": named}
    return made("moves", "motion_adapter", "", facts, overrides=overrides)


def model(name: str, channels: int = 4, base: str = "sd1") -> Entry:
    facts = {"base": base, "in_channels": channels, "widths": [32, 64], "native_size": 256}
    return made(name, "image_diffusion", "", {**facts, "parts": {"unet": "unet:9"}})


def test_what_stands_on_another_checkpoint_takes_the_first_that_it_fits() -> None:
    done = found(adapter(), model("a", channels=9), model("b", base="sdxl"), model("c"), model("d"))
    assert done.status == "ready"
    assert done.components == {"config": path("c")}
    assert done.kind == "FluxPipeline"
    assert done.facts["native_size"] == 256
    assert done.key != adapter().key
    assert found(adapter({"config": "d"}), model("c"), model("d")).components == {
        "config": path("d")
    }


def test_without_such_a_checkpoint_it_says_what_to_install() -> None:
    done = found(adapter(), model("a", channels=9))
    assert (done.status, done.reason) == ("broken", "install one")
    wrong = found(adapter({"config": "a"}), model("a", channels=9), model("c"))
    assert wrong.status == "broken"
