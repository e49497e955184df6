"""What an image checkpoint of one file lacks, taken from what else is installed. Pure.

Its family left in its facts: `parts` (component → stamp of its shape), `missing` (component → the
stamp that is wanted, if it is known), `tree` (configurations that come with the server, if the
shape is a usual one) and `variants` (name → what its owner may say it is, where shapes cannot
tell). What stands on a whole other checkpoint left what that one's facts must be (`wants`), and
what to say when there is none (`needs`). What is found goes into `Entry.components`, "config" being
the folder of configurations.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from onebox.core.contracts import Entry
from onebox.core.errors import ModelBroken

# Of a family's name, and those of its own tasks that a checkpoint can do.
TasksOf = Callable[[str, Collection[str] | None], tuple[str, ...]]

CONFIG = "config"
# Facts that a configuration tells and no weights do.
TOLD = ("native_size", "multiple")
# Their text encoders are those of others, unchanged; of older models each checkpoint has its own.
SHARED_TEXT = frozenset({"flux", "sd3"})
UNUSUAL = (
    "it has an unusual shape, of which the server has no configuration; put the diffusers folder "
    "that it was made from, or one of the same shape, into the model folder"
)
# A file of one component alone.
PART_FAMILY = "image_part"


def sources_of(entries: Iterable[Entry]) -> list[Entry]:
    """Those of the checkpoints that others may take a part from, folders first."""
    found = [
        entry
        for entry in entries
        if entry.status != "broken"
        and ("parts" in entry.facts or entry.family == PART_FAMILY or entry.unconverted)
    ]
    return sorted(found, key=lambda entry: (entry.extension != "", entry.name))


def completed(entry: Entry, usable: Sequence[Entry], tasks_of: TasksOf) -> Entry:
    """The entry with its `components`; broken, with the reason, when there is not all it needs.

    Args:
        usable: what `sources_of` gave.
    """
    if "missing" not in entry.facts or entry.status == "broken":
        return entry
    named: Mapping[str, str] = entry.overrides.get("components", {})
    variant = entry.facts.get("variants", {}).get(named.get(CONFIG))
    if variant is not None:
        entry = _as_variant(entry, variant, tasks_of)
    try:
        source = _config(entry, named.get(CONFIG) if variant is None else None, usable)
        components = {
            part: _part(entry, part, name, usable) for part, name in named.items() if part != CONFIG
        }
        for part in entry.facts["missing"]:
            if part not in components:
                components[part] = _found(entry, part, usable if source is None else [source])
    except ModelBroken as error:
        return msgspec.structs.replace(entry, status="broken", reason=error.message, tasks=())
    if source is not None:
        entry, components = _of_kind(entry, source), {CONFIG: _place(source), **components}
    key = _key(entry, components, usable)
    return msgspec.structs.replace(entry, key=key, components=components)


def lacks_parts(entry: Entry) -> bool:
    """Whether it would work if what it takes from others were there."""
    return entry.status == "broken" and "missing" in entry.facts


def is_source(place: str, entry: Entry) -> bool:
    """Whether the entry takes a component from the checkpoint at a place."""
    return any(place in (path, os.path.dirname(path)) for path in entry.components.values())


def _key(entry: Entry, components: Mapping[str, str], usable: Sequence[Entry]) -> str:
    """Another one when what its components are taken from changes: a loaded one is stale then."""
    if not components:
        return entry.key
    keys = {_place(other): other.key for other in usable}
    used = [
        (part, path, keys.get(path) or keys.get(os.path.dirname(path)))
        for part, path in sorted(components.items())
    ]
    return hashlib.sha256(repr((entry.key, used)).encode()).hexdigest()[:24]


def _as_variant(entry: Entry, variant: Mapping[str, Any], tasks_of: TasksOf) -> Entry:
    """What its owner says it is: the same shapes, of another kind."""
    return msgspec.structs.replace(
        entry,
        kind=variant["kind"],
        facts={**entry.facts, **variant["facts"]},
        tasks=tasks_of(entry.family or "", variant["tasks"]),
    )


def _of_kind(entry: Entry, source: Entry) -> Entry:
    """What the folder of its configurations is, if that is made for the same inputs."""
    told = {name: source.facts[name] for name in TOLD if name in source.facts}
    found = msgspec.structs.replace(entry, facts={**entry.facts, **told})
    if not _takes_the_same(entry, source):
        return found
    return msgspec.structs.replace(found, kind=source.kind, tasks=source.tasks)


def _takes_the_same(entry: Entry, other: Entry) -> bool:
    return bool(entry.facts.get("in_channels") == other.facts.get("in_channels"))


def _config(entry: Entry, name: str | None, usable: Sequence[Entry]) -> Entry | None:
    """The installed folder whose configurations are its own; None where the server has them."""
    if name is not None and name != entry.facts.get("tree"):
        named = _named(CONFIG, name, usable)
        if named.extension or not _is_like(entry, named):
            raise ModelBroken(
                f'its onebox.toml says config = "{name}", but that is no diffusers folder of the '
                "same shape"
            )
        return named
    if "tree" in entry.facts:
        return None
    like = [other for other in usable if not other.extension and _is_like(entry, other)]
    # First those of the same kind.
    like.sort(key=lambda other: (not _takes_the_same(entry, other), other.kind != entry.kind))
    if not like:
        raise ModelBroken(entry.facts.get("needs", UNUSUAL))
    return like[0]


def _is_like(entry: Entry, other: Entry) -> bool:
    """Whether the folder has every part of the file, in the same shape."""
    parts = other.facts.get("parts", {})
    same = all(parts.get(part) == stamp for part, stamp in entry.facts["parts"].items())
    wants: Mapping[str, Any] = entry.facts.get("wants", {})
    fits = all(other.facts.get(name) == value for name, value in wants.items())
    return same and fits and other.facts.get("base") == entry.facts["base"]


def _part(entry: Entry, part: str, name: str, usable: Sequence[Entry]) -> str:
    """Where the component lies that its `onebox.toml` names."""
    other = _named(part, name, usable)
    place = _place_in(entry, part, other, any_base=True)
    if place is None:
        raise ModelBroken(
            f'its onebox.toml says {part} = "{name}", but {other.name} has none that fits'
        )
    return place


def _found(entry: Entry, part: str, usable: Sequence[Entry]) -> str:
    """Where the component lies in the first installed checkpoint that fits."""
    places = (_place_in(entry, part, other, any_base=False) for other in usable)
    place = next((place for place in places if place is not None), None)
    if place is None:
        raise ModelBroken(
            f"the file has no {part}, and no installed checkpoint has one that fits; put one "
            f"that has it, or the file of that part, into the model folder, and name it in its "
            f'onebox.toml: [components] {part} = "..."'
        )
    return place


def _place_in(entry: Entry, part: str, other: Entry, *, any_base: bool) -> str | None:
    """Path of a component that fits in another checkpoint; None when it has none."""
    wanted = entry.facts["missing"].get(part) or entry.facts["parts"].get(part)
    shares = part != "vae" and entry.facts["base"] in SHARED_TEXT
    if other.family == PART_FAMILY:
        fits = (any_base or shares) and wanted in (None, other.facts.get("stamp"))
        return _place(other) if fits else None
    base = other.facts.get("base")
    if not (any_base or base == entry.facts["base"] or (shares and base in SHARED_TEXT)):
        return None
    parts: Mapping[str, str] = other.facts.get("parts", {})
    if part in parts and wanted in (None, parts[part]):
        return _place(other) if other.extension else os.path.join(_place(other), part)
    if other.extension or not shares or wanted is None:
        return None
    # The same encoder has another name there: T5 is FLUX's second and SD3's third.
    place = next((name for name, stamp in parts.items() if stamp == wanted), None)
    return None if place is None else os.path.join(_place(other), place)


def _named(part: str, name: str, usable: Sequence[Entry]) -> Entry:
    for other in usable:
        paths = (other.path, *other.other_paths)
        if name in (other.name, *other.aliases) or any(
            path.replace(os.sep, "/").endswith((f"/{name}", f"/{name}{other.extension}"))
            for path in paths
        ):
            break
    else:
        raise ModelBroken(
            f'its onebox.toml says {part} = "{name}", but nothing of that name is installed'
        )
    if other.unconverted:
        raise ModelBroken(
            f'its onebox.toml says {part} = "{name}", which is a pickle; make a safetensors file '
            "of it with `onebox convert`"
        )
    return other


def _place(entry: Entry) -> str:
    return entry.loaded_from or entry.path
