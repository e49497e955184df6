from __future__ import annotations

from typing import Any

import pytest

from onebox.core.contracts import Entry
from onebox.core.default_aliases import DEFAULT_ALIASES
from onebox.core.errors import InvalidInput, ModelNotFound
from onebox.registry.names import NameIndex, NameRules

A, B, C = "aaaaaaaa11" + "0" * 54, "aaaaaaaa22" + "0" * 54, "cccccccc33" + "0" * 54


def entry(name: str, sha256: str | None = None, **fields: Any) -> Entry:
    stem, dot, kind = name.rpartition(".")
    values: dict[str, Any] = {
        "key": name, "name": stem or name, "path": f"/m/{name}", "extension": f".{kind}" if dot else
        "", "size_bytes": 1, "status": "ready" if sha256 else "hashing", "sha256": sha256,
    }  # fmt: skip
    return Entry(**(values | fields))


def index(*entries: Entry, **rules: Any) -> NameIndex:
    named = [(each.path.removeprefix("/m/"), each) for each in entries]
    return NameIndex(named, NameRules(**rules))


def nearest(names: NameIndex, name: str, task: str | None = None) -> list[str]:
    with pytest.raises(ModelNotFound) as caught:
        names.resolve(name, task)
    assert caught.value.param == "model"
    found: list[str] = caught.value.details["nearest"]
    assert all(each in caught.value.message for each in found)
    return found


TURBO = entry("sd-turbo.safetensors", A, tasks=("text-to-image", "inpainting"))
LM = entry("org/smol", B, tasks=("chat",), aliases=("little",))
WHISPER = entry("whisper-base", C, tasks=("transcription",))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (A, TURBO), (A[:10], TURBO), (C[:8], WHISPER),
        ("sd-turbo", TURBO), ("sd-turbo.safetensors", TURBO),
        ("org/smol", LM), ("little", LM), ("mine", WHISPER), ("by-id", LM), ("indirect", LM),
        ("dall-e-3", TURBO), ("gpt-4o-mini", LM), ("chained", LM),
    ],
)  # fmt: skip
def test_every_way_to_name_a_model(name: str, expected: Entry) -> None:
    names = index(
        TURBO, LM, WHISPER,
        aliases={"mine": "whisper-base", "by-id": B, "indirect": "little", "chained":
        "gpt-4o-mini"}, task_aliases={"dall-e-3": "text-to-image", "gpt-4o-mini": "chat"},
    )  # fmt: skip
    assert names.resolve(name) is expected


def test_a_real_name_wins_over_every_alias() -> None:
    real = entry("whisper-1", A)
    names = index(
        real, entry("x", B, aliases=("whisper-1",)),
        aliases={"whisper-1": "x"}, task_aliases={"whisper-1": "transcription"},
    )  # fmt: skip
    assert names.resolve("whisper-1") is real


def test_a_setting_wins_over_a_checkpoints_own_alias_and_over_the_shipped_ones() -> None:
    one, two = entry("one", A), entry("two", B, aliases=("tts-1",))
    names = index(one, two, aliases={"tts-1": "one"}, task_aliases={"tts-1": "speech"})
    assert names.resolve("tts-1") is one
    assert index(one, two, task_aliases={"tts-1": "speech"}).resolve("tts-1") is two


def test_a_folder_keeps_its_name_when_a_file_shares_it() -> None:
    whole, file = entry("model", A), entry("model.safetensors", B)
    names = index(whole, file)
    assert names.resolve("model") is whole
    assert names.resolve("model.safetensors") is file


def test_what_may_mean_two_is_not_found_and_lists_both() -> None:
    names = index(entry("m.safetensors", A), entry("m.ckpt", B))
    assert nearest(names, "m") == [A, B]
    assert nearest(names, "aaaaaaaa") == [A, B]
    assert names.resolve("m.ckpt").sha256 == B


def test_the_task_decides_between_two() -> None:
    names = index(entry("m.safetensors", A, tasks=("chat",)), entry("m.ckpt", B, tasks=("speech",)))
    assert names.resolve("m", task="speech").sha256 == B
    assert nearest(names, "m", task="embeddings") == [A, B]


def test_two_names_of_one_model_are_not_ambiguous() -> None:
    one = entry("m.pt", A)
    assert NameIndex([("m.pt", one), ("m.bin", one)], NameRules()).resolve("m") is one


@pytest.mark.parametrize(
    "name",
    [
        "aaaaaaa",
        "AAAAAAAA11",
        "aaaaaaaag",
        "",
        "../sd-turbo",
        "/m/sd-turbo",
        "smol",
        "%",
        "x" * 9999,
    ],
)
def test_unknown_names_are_not_found(name: str) -> None:
    with pytest.raises(ModelNotFound) as caught:
        index(TURBO, LM).resolve(name)
    assert len(caught.value.message) < 400


def test_the_nearest_names_come_first() -> None:
    names = index(TURBO, LM, WHISPER, aliases={"sd": "sd-turbo"})
    assert nearest(names, "SD-Turbo2")[0] == "sd-turbo"
    assert nearest(names, "littel") == ["little"]
    assert nearest(index(), "x") == []


def test_an_alias_to_nothing_says_so() -> None:
    names = index(TURBO, aliases={"mine": "sd-trubo"})
    with pytest.raises(ModelNotFound, match="'mine' stands for 'sd-trubo'"):
        names.resolve("mine")


def test_one_name_for_videos_is_the_model_of_either_task() -> None:
    films = entry("films", A, tasks=("text-to-video",))
    goes_on = entry("goes-on", B, tasks=("image-to-video",))
    both = entry("both", C, tasks=("text-to-video", "image-to-video"))
    for name in ("sora-2", "sora-2-pro"):
        names = index(films, goes_on, task_aliases=DEFAULT_ALIASES)
        assert names.resolve(name, "text-to-video") is films
        assert names.resolve(name, "image-to-video") is goes_on
        assert index(both, task_aliases=DEFAULT_ALIASES).resolve(name, "image-to-video") is both


def test_aliases_never_run_in_circles() -> None:
    names = index(TURBO, aliases={"a": "b", "b": "a", "c": "c"})
    for name in ("a", "b", "c"):
        nearest(names, name)
    circle = index(TURBO, task_aliases={"x": "chat"}, default_models={"chat": "x"})
    with pytest.raises(ModelNotFound):
        circle.resolve("x")


def test_default_order() -> None:
    pinned = entry("pinned", B, tasks=("chat",), overrides={"pin": True})
    plain = entry("plain", A, tasks=("chat",))
    broken = entry("broken", C, tasks=("chat",), status="broken")
    assert index(plain, broken).default_for("chat") is plain
    assert index(plain, pinned).default_for("chat") is pinned
    assert index(plain, pinned, default_models={"chat": "plain"}).default_for("chat") is plain


def test_no_default_lists_the_candidates() -> None:
    names = index(entry("b", A, tasks=("chat",)), entry("a", B, tasks=("chat",)))
    with pytest.raises(InvalidInput, match="a, b; ONEBOX_DEFAULT_CHAT") as caught:
        names.default_for("chat")
    assert (caught.value.param, caught.value.details) == ("model", {"candidates": ["a", "b"]})
    with pytest.raises(InvalidInput, match="no model here can do speech"):
        names.default_for("speech")


def test_a_configured_default_that_is_missing_is_told() -> None:
    with pytest.raises(InvalidInput, match=r"configured default for chat.*'smoll'.*org/smol"):
        index(LM, default_models={"chat": "smoll"}).default_for("chat")


def test_a_shipped_alias_follows_the_task_that_was_asked_for() -> None:
    painter = entry("painter", B, tasks=("try-on",))
    names = index(TURBO, painter, task_aliases={"dall-e-2": "text-to-image"})
    assert names.resolve("dall-e-2", task="inpainting") is TURBO
    assert names.resolve("dall-e-2", task="try-on") is painter
    assert nearest(names, "dall-e-2", task="speech")


def test_a_shipped_alias_finds_the_only_model_for_the_task_among_many_of_its_own() -> None:
    painter = entry("painter", tasks=("text-to-image", "inpainting"))
    other = entry("other", tasks=("text-to-image",))
    names = index(painter, other, task_aliases={"dall-e-2": "text-to-image"})
    assert names.resolve("dall-e-2", task="inpainting") is painter
    with pytest.raises(ModelNotFound, match="other, painter"):
        names.resolve("dall-e-2", task="text-to-image")


def test_a_broken_copy_does_not_hide_a_sound_one() -> None:
    sound = entry("a", A)
    assert index(sound, entry("b", A, status="broken")).resolve(A) is sound
