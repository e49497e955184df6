"""The back end against a stand-in for torch, in `sys.modules` as the real one would be."""

from __future__ import annotations

import sys
import warnings
from types import SimpleNamespace as Space

import pytest

from onebox.hardware.backend import TorchBackend, _with_free
from onebox.hardware.detector import detect
from onebox.hardware.facts import Card, SeenCard

GIB = 1024**3


def _nothing() -> Space:
    return Space(is_available=lambda: False, device_count=lambda: 0, get_arch_list=list)


def _torch(**parts) -> Space:
    whole = {
        "__version__": "2.13.0",
        "version": Space(cuda=None, hip=None),
        "cpu": Space(get_capabilities=dict),
        "cuda": _nothing(),
        "xpu": _nothing(),
        "backends": Space(mps=Space(is_available=lambda: False)),
    }
    return Space(**{**whole, **parts})


def _card(name: str, **about) -> Space:
    plain = {"total_memory": 4 * GIB, "is_integrated": 0, "uuid": "1a-2b"}
    return Space(name=name, **{**plain, **about})


def _cuda_space(*cards: Space, architectures=("sm_80",)) -> Space:
    def properties(index: int) -> Space:
        if cards[index].major == 0:
            raise RuntimeError("CUDA error: device lost\nlong story")
        return cards[index]

    return Space(
        is_available=lambda: True,
        device_count=lambda: len(cards),
        get_device_properties=properties,
        get_arch_list=lambda: list(architectures),
        is_bf16_supported=lambda: True,
        mem_get_info=lambda which: (3 * GIB, 4 * GIB),
        memory_reserved=lambda which: 2 * GIB,
        memory_allocated=lambda which: GIB,
    )


@pytest.fixture
def look(monkeypatch):
    def _look(torch):
        monkeypatch.setitem(sys.modules, "torch", torch)
        return TorchBackend().look()

    return _look


def test_cuda_cards_and_one_that_is_lost(look):
    good = _card("A100", major=8, minor=0)
    lost = Space(major=0)
    facts = look(_torch(version=Space(cuda="13.0", hip=None), cuda=_cuda_space(good, lost)))
    first, second = facts.cuda
    assert (first.name, first.architecture, first.capability) == ("A100", "sm_80", (8, 0))
    assert (first.total_bytes, first.free_bytes, first.bf16) == (4 * GIB, 3 * GIB, True)
    assert second.error == "CUDA error: device lost"
    assert (facts.torch.cuda, facts.torch.architectures) == ("13.0", ("sm_80",))


def test_rocm_cards_are_named_by_their_chip(look):
    chip = _card("RX", major=11, minor=0, gcnArchName="gfx1100")
    facts = look(_torch(version=Space(cuda=None, hip="7.2"), cuda=_cuda_space(chip)))
    assert (facts.cuda[0].architecture, facts.torch.hip) == ("gfx1100", "7.2")


def test_free_memory_comes_from_the_drivers_tool_so_that_no_context_is_opened():
    def mem_get_info(which):
        raise RuntimeError("CUDA error: out of memory\nmore")

    torch = _torch(cuda=Space(mem_get_info=mem_get_info))
    card = Card(0, "A100", 4 * GIB, 4 * GIB, uuid="1a-2b")
    seen = SeenCard("nvidia", "A100", "580.1", uuid="1a-2b", free_bytes=GIB)
    assert _with_free(torch, card, [seen]).free_bytes == GIB
    # Torch is asked for a card that the tool does not tell of: a part of one, an integrated one.
    unknown = SeenCard("nvidia", "A100", "580.1", uuid="3c", free_bytes=GIB)
    assert _with_free(torch, card, [unknown]).error == "CUDA error: out of memory"
    lost = Card(0, "card 0", 0, 0, error="device lost")
    assert _with_free(torch, lost, [seen]) == lost


def test_what_torch_warns_of_is_kept_where_it_finds_no_card(look):
    def is_available() -> bool:
        warnings.warn("The NVIDIA driver on your system is too old\nmore", stacklevel=1)
        return False

    cuda = Space(is_available=is_available, get_arch_list=list)
    facts = look(_torch(version=Space(cuda="13.0", hip=None), cuda=cuda))
    assert facts.torch.error == "The NVIDIA driver on your system is too old"


def test_xpu_cards_with_a_driver_that_does_not_tell(look):
    def mem_get_info(which):
        raise RuntimeError("not supported")

    space = Space(
        is_available=lambda: True,
        device_count=lambda: 1,
        get_device_properties=lambda index: Space(name="Arc", total_memory=8 * GIB),
        mem_get_info=mem_get_info,
        is_bf16_supported=lambda: True,
    )
    (card,) = look(_torch(xpu=space)).xpu
    assert (card.name, card.free_bytes, card.bf16) == ("Arc", 8 * GIB, True)


def test_mps(look, monkeypatch):
    space = Space(recommended_max_memory=lambda: 16 * GIB, current_allocated_memory=lambda: 0)
    facts = look(_torch(backends=Space(mps=Space(is_available=lambda: True)), mps=space))
    assert facts.mps is not None
    assert facts.mps.total_bytes == 16 * GIB
    assert 0 <= TorchBackend().free_bytes("mps") <= 16 * GIB


def test_torch_that_cannot_be_imported_still_gives_the_cpu(look, monkeypatch):
    facts = look(None)  # how Python marks a module that must not be imported
    assert facts.torch.version is None
    assert "torch" in (facts.torch.error or "")
    assert detect(TorchBackend())[-1].id == "cpu"


def test_free_bytes_counts_what_torch_keeps_unused(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", _torch(cuda=_cuda_space(), xpu=_cuda_space()))
    backend = TorchBackend()
    assert backend.free_bytes("cuda:0") == 4 * GIB
    assert backend.free_bytes("xpu:0") == 4 * GIB
    assert backend.free_bytes("cpu") > 0
