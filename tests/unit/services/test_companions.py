"""The checkpoints that a request needs beside its own: found, judged, and counted in memory."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import msgspec
import pytest

from onebox.core.companions import Companion
from onebox.core.contracts import Entry
from onebox.core.errors import InvalidInput, ModelBroken, ModelNotFound, TaskNotSupported
from onebox.core.results import Timing
from onebox.runtime.wire import Result
from onebox.services.companions import Companions
from tests.unit.runtime.clients import entry, run
from tests.unit.services.kitchen import MODEL, FakeInput, FakeTask, Kitchen, sent

LORA = entry("lora", family="lora", kind="LoRA", facts={"base": "sd1"})
OTHER = entry("other", family="lora", kind="LoRA", facts={"base": "sdxl"})


class FakeCatalogue:
    def __init__(self, *entries: Entry) -> None:
        self._entries = {entry.name: entry for entry in entries}

    async def named(self, model: str) -> Entry:
        if model not in self._entries:
            raise ModelNotFound(f"no model {model}", param="model", details={"nearest": ["x"]})
        return self._entries[model]

    def entries(self) -> list[Entry]:
        return list(self._entries.values())


class Needy(FakeTask):
    """Needs these, and takes none of the kind "sdxl"."""

    def __init__(self, *companions: Companion) -> None:
        self._companions = companions

    def companions(self, request: FakeInput, entry: Entry) -> tuple[Companion, ...]:
        return self._companions

    def fits(self, request: FakeInput, entry: Entry, slot: str, companion: Entry) -> None:
        if companion.facts.get("base") == "sdxl":
            raise InvalidInput(f"{companion.name} is not for {entry.name}", param=slot)


def broken_lora(**fields: Any) -> Entry:
    return msgspec.structs.replace(entry("bad", family="lora", **fields), status="broken")


def found(task: FakeTask, *entries: Entry) -> dict[str, Entry]:
    companions = Companions(FakeCatalogue(*entries))
    return dict(run(companions.of(task, FakeInput(), MODEL)))


def wanted(name: str | None, **fields) -> Companion:
    return Companion("slot", name, frozenset({"lora"}), **{"param": "loras", **fields})


def test_a_named_one_is_found_by_its_slot():
    assert found(Needy(wanted(LORA.name)), LORA, OTHER) == {"slot": LORA}


def test_most_requests_need_none():
    assert found(FakeTask()) == {}


def test_an_unknown_name_is_not_found_under_the_field_that_asked():
    with pytest.raises(ModelNotFound) as info:
        found(Needy(wanted("nope")), LORA)
    assert (info.value.param, info.value.details) == ("loras", {"nearest": ["x"]})


def in_folder(name: str, family: str = "lora") -> Entry:
    fields = {"name": name, "extension": ".safetensors"}
    return msgspec.structs.replace(entry(name, family=family), **fields)


@pytest.mark.parametrize("name", ["ink-1.5", "ink-1.5.safetensors", "loras/ink-1.5"])
def test_the_name_of_its_file_is_enough(name):
    ink, other = in_folder("loras/ink-1.5"), in_folder("big/ink-1.5", "other")
    assert found(Needy(wanted(name)), ink, other) == {"slot": ink}


def test_the_name_of_two_files_is_not_enough():
    two = [in_folder(f"{folder}/ink") for folder in ("a", "b")]
    with pytest.raises(ModelNotFound):
        found(Needy(wanted("ink")), *two)


def test_one_of_another_family_is_refused_by_name_and_kind():
    checkpoint = entry("big", family="image_diffusion", kind="StableDiffusionPipeline")
    with pytest.raises(InvalidInput, match="is no lora; it is: StableDiffusionPipeline") as info:
        found(Needy(wanted(checkpoint.name)), checkpoint)
    assert info.value.param == "loras"


def test_one_that_the_task_refuses_is_refused():
    with pytest.raises(InvalidInput, match="is not for"):
        found(Needy(wanted(OTHER.name)), OTHER)


def test_a_broken_one_says_why():
    broken = broken_lora(reason="it holds DoRA magnitudes")
    with pytest.raises(ModelBroken, match="DoRA") as info:
        found(Needy(wanted(broken.name)), broken)
    assert info.value.param == "loras"


def test_without_a_name_any_whose_facts_agree_will_do():
    one = Needy(wanted(None, facts={"base": "sd1"}))
    assert found(one, OTHER, LORA) == {"slot": LORA}


@pytest.mark.parametrize("width", [768, 1024])
def test_one_that_goes_with_another_companion_is_chosen_by_what_that_says(width: int):
    adapter = entry("adapter", family="lora", facts={"width": width})
    encoders = [
        entry(f"encoder-{made}", family="encoder", facts={"width": made, "side": 224})
        for made in (768, 1024)
    ]
    alike = {"width": "slot", "side": "slot"}
    beside = Companion("encoder", None, frozenset({"encoder"}), alike=alike)
    chosen = found(Needy(wanted(adapter.name), beside), adapter, *encoders)
    assert chosen["encoder"].facts["width"] == width


def test_a_broken_one_is_not_chosen():
    broken = broken_lora(facts={"base": "sd1"})
    one = Needy(wanted(None, facts={"base": "sd1"}, required=False))
    assert found(one, broken) == {}


def test_the_default_of_a_task_is_taken_where_a_companion_names_one():
    class WithDefault(FakeCatalogue):
        def first_of(self, able: Any, task_name: str, prefers: Any) -> Entry:
            assert task_name == "cutout"
            return next(filter(prefers, able))

    second = entry("second", family="lora", kind="LoRA", facts={"base": "sd1"})
    needy = Needy(wanted(None, task="cutout", prefers=lambda other: other is second))
    of = Companions(WithDefault(LORA, second)).of
    assert run(of(needy, FakeInput(), MODEL))["slot"] == second


def test_what_is_required_and_not_there_names_what_to_install():
    needy = Needy(wanted(None, needs="put a LoRA into ai-models/loras"))
    with pytest.raises(TaskNotSupported, match="ai-models/loras") as info:
        found(needy)
    assert info.value.param == "loras"


def test_what_is_not_required_may_be_missing():
    assert found(Needy(wanted(None, required=False))) == {}


class TestMemory:
    """Weights of any model take 500 by their header here, and the work 100."""

    @pytest.fixture
    def kitchen(self, tmp_path: Path) -> Kitchen:
        return Kitchen(tmp_path)

    def asked(self, kitchen: Kitchen, **companions: Entry):
        return dataclasses.replace(kitchen.prepared(), companions=companions)

    def test_companions_are_sent_along_and_counted_with_the_work(self, kitchen):
        async def scene() -> None:
            (task,) = await sent(kitchen, self.asked(kitchen, a=LORA, b=OTHER))
            (submit,) = kitchen.submits()
            assert submit.companions == {"a": LORA, "b": OTHER}
            assert submit.reserve_bytes == 100 + 2 * 500
            kitchen.client.answer(Result(submit.id, (), Timing()))
            await task

        run(scene())
        assert kitchen.pool.needed == [480 + 100 + 2 * 500]

    def test_what_does_a_part_by_itself_is_not_beside_the_rest(self, kitchen):
        cutter = entry("cutter", tasks=("cutout",))

        async def scene() -> None:
            (task,) = await sent(kitchen, self.asked(kitchen, a=LORA, cutout=cutter))
            (submit,) = kitchen.submits()
            assert submit.companions == {"a": LORA}
            assert submit.reserve_bytes == 100 + 500
            kitchen.client.answer(Result(submit.id, (), Timing()))
            await task

        run(scene())

    def test_one_in_two_slots_is_counted_once(self, kitchen):
        async def scene() -> None:
            (task,) = await sent(kitchen, self.asked(kitchen, a=LORA, b=LORA))
            (submit,) = kitchen.submits()
            assert submit.reserve_bytes == 600
            kitchen.client.answer(Result(submit.id, (), Timing()))
            await task

        run(scene())

    def test_a_measured_peak_is_remembered_without_them(self, kitchen):
        async def scene() -> None:
            (task,) = await sent(kitchen, self.asked(kitchen, a=LORA))
            (submit,) = kitchen.submits()
            kitchen.client.answer(Result(submit.id, (), Timing(), peak_bytes=730))
            await task

        run(scene())
        assert ("working", 230) in kitchen.sizing.remembered
