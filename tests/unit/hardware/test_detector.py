from __future__ import annotations

import msgspec
import pytest

from onebox.core.contracts import Device
from onebox.core.errors import InvalidInput
from onebox.hardware.detector import choose, detect
from onebox.hardware.facts import Card, Facts, TorchBuild
from tests.unit.hardware.fakes import (
    CPU_BUILD,
    CUDA_BUILD,
    GIB,
    HOST,
    ROCM_BUILD,
    RTX_4090,
    FakeBackend,
    amd,
    card,
)

APPLE = Card(0, "Apple M3", 24 * GIB, 24 * GIB)
ARC = Card(0, "Intel Arc B580", 12 * GIB, 11 * GIB, bf16=True)


def _devices(build=CPU_BUILD, **facts) -> list[Device]:
    return detect(FakeBackend(Facts(torch=build, **{"host": HOST, **facts})))


def _ids(devices: list[Device]) -> list[str]:
    return [device.id for device in devices]


def test_two_cuda_cards_of_different_capability():
    cards = (card("NVIDIA A100", (8, 0)), card("Tesla T4", (7, 5), index=1, gib=16))
    first, second, last = _devices(CUDA_BUILD, cuda=cards)
    assert first == Device(
        id="cuda:0",
        kind="cuda",
        name="NVIDIA A100",
        torch_device="cuda:0",
        pool="cuda:0",
        total_bytes=24 * GIB,
        free_bytes=23 * GIB,
        dtype="bfloat16",
        vae_dtype="bfloat16",
        compute_capability=(8, 0),
    )
    assert (second.id, second.dtype, second.vae_dtype) == ("cuda:1", "float16", "float32")
    assert (last.id, last.problems) == ("cpu", ())


def test_a_card_the_build_does_not_carry_keeps_its_place_with_a_problem():
    old, _ = _devices(CUDA_BUILD, cuda=(card("NVIDIA GeForce GTX 1080", (6, 1)),))
    assert old.id == "cuda:0"
    assert "sm_61" in old.problems[0]


def test_an_integrated_cuda_card_draws_on_the_host():
    spark = msgspec.structs.replace(card("NVIDIA GB10", (12, 1), gib=20), integrated=True)
    spark = msgspec.structs.replace(spark, free_bytes=GIB)
    device = _devices(CUDA_BUILD, cuda=(spark,))[0]
    assert (device.pool, device.free_bytes) == ("host", 20 * GIB)


def test_rocm_cards_have_their_own_kind_and_torchs_name():
    new, old, _ = _devices(ROCM_BUILD, cuda=(amd("RX 7900", "gfx1100"), amd("V620", "gfx1030", 1)))
    assert (new.id, new.kind, new.torch_device) == ("rocm:0", "rocm", "cuda:0")
    assert (new.dtype, new.vae_dtype, new.compute_capability) == ("bfloat16", "bfloat16", None)
    assert (old.id, old.pool, old.dtype, old.vae_dtype) == (
        "rocm:1",
        "rocm:1",
        "float16",
        "float32",
    )


def test_mps_shares_the_hosts_memory():
    host = msgspec.structs.replace(HOST, available_bytes=10 * GIB)
    mps, cpu = _devices(mps=APPLE, host=host)
    assert (mps.id, mps.torch_device, mps.pool) == ("mps", "mps", "host")
    assert (mps.total_bytes, mps.free_bytes) == (24 * GIB, 10 * GIB)
    assert (mps.dtype, mps.vae_dtype) == ("float16", "float32")
    assert cpu.pool == "host"


def test_xpu():
    xpu, _ = _devices(xpu=(ARC,))
    assert (xpu.id, xpu.torch_device, xpu.pool) == ("xpu:0", "xpu:0", "xpu:0")
    assert xpu.dtype == "bfloat16"
    plain, _ = _devices(xpu=(msgspec.structs.replace(ARC, bf16=False),))
    assert (plain.dtype, plain.vae_dtype) == ("float16", "float32")


@pytest.mark.parametrize(("bf16", "dtype"), [(True, "bfloat16"), (False, "float32")])
def test_the_cpu_is_always_there(bf16, dtype):
    (cpu,) = _devices(host=msgspec.structs.replace(HOST, bf16=bf16))
    assert (cpu.id, cpu.torch_device, cpu.cores) == ("cpu", "cpu", 8)
    assert (cpu.total_bytes, cpu.free_bytes) == (32 * GIB, 24 * GIB)
    assert (cpu.dtype, cpu.vae_dtype) == (dtype, dtype)


def test_a_missed_nvidia_card_is_a_problem_of_the_cpu():
    (cpu,) = _devices(seen=(RTX_4090,))
    assert "RTX 4090" in cpu.problems[0]
    assert choose([cpu], ["auto"])[0].problems == cpu.problems
    assert choose([cpu], ["cpu"])[0].problems == ()


A100S = (card("NVIDIA A100", (8, 0)), card("NVIDIA A100", (8, 0), index=1))


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ([], ["cuda:0", "cuda:1"]),
        (["auto"], ["cuda:0", "cuda:1"]),
        ([" AUTO"], ["cuda:0", "cuda:1"]),
        (["cuda"], ["cuda:0", "cuda:1"]),
        (["cuda:1"], ["cuda:1"]),
        (["cuda:1", "cpu"], ["cuda:1", "cpu"]),
        (["cpu", "cpu"], ["cpu", "cpu"]),
        (["cuda:0", "cuda:0"], ["cuda:0", "cuda:0"]),
    ],
)
def test_choose_among_cuda_cards(wanted, expected):
    assert _ids(choose(_devices(CUDA_BUILD, cuda=A100S), wanted)) == expected


@pytest.mark.parametrize("wanted", ["auto", "cuda", "rocm", "cuda:0", "rocm:0"])
def test_an_amd_card_answers_to_both_names(wanted):
    devices = _devices(ROCM_BUILD, cuda=(amd("RX 7900", "gfx1100"),))
    assert _ids(choose(devices, [wanted])) == ["rocm:0"]


@pytest.mark.parametrize(
    ("facts", "expected"),
    [({"mps": APPLE}, "mps"), ({"xpu": (ARC,)}, "xpu:0"), ({}, "cpu")],
)
def test_auto_takes_the_best_there_is(facts, expected):
    assert _ids(choose(_devices(**facts), ["auto"])) == [expected]


@pytest.mark.parametrize("wanted", ["tpu", "cuda:7", "mps", "", "cuda:"])
def test_choosing_what_is_not_there_names_what_is(wanted):
    with pytest.raises(InvalidInput, match=r"cuda:0 \(NVIDIA A100\), .*cpu") as caught:
        choose(_devices(CUDA_BUILD, cuda=A100S), [wanted])
    assert caught.value.param == "ONEBOX_DEVICE"


def test_choosing_cuda_without_it_says_what_keeps_it_away():
    with pytest.raises(InvalidInput, match="ONEBOX_TORCH_INDEX"):
        choose(_devices(seen=(RTX_4090,)), ["cuda"])


def test_auto_passes_over_a_broken_card_and_says_so():
    cards = (card("NVIDIA GeForce GTX 1080", (6, 1)), card("NVIDIA A100", (8, 0), index=1))
    (chosen,) = choose(_devices(CUDA_BUILD, cuda=cards), ["auto"])
    assert chosen.id == "cuda:1"
    assert chosen.problems[0].startswith("cuda:0 is not used: NVIDIA GeForce GTX 1080")


def test_auto_with_only_broken_cards_is_the_cpu_and_says_so():
    devices = _devices(CUDA_BUILD, cuda=(card("NVIDIA GeForce GTX 1080", (6, 1)),))
    (chosen,) = choose(devices, ["auto"])
    assert chosen.id == "cpu"
    assert "cu126" in chosen.problems[0]


def test_a_card_torch_misses_is_shown_beside_one_of_another_vendor():
    (chosen,) = choose(_devices(xpu=(ARC,), seen=(RTX_4090,)), ["auto"])
    assert chosen.id == "xpu:0"
    assert "RTX 4090" in chosen.problems[0]


def test_a_broken_card_that_is_named_is_taken_with_its_problems():
    devices = _devices(CUDA_BUILD, cuda=(card("NVIDIA GeForce GTX 1080", (6, 1)),))
    (chosen,) = choose(devices, ["cuda:0"])
    assert chosen.problems


def test_torch_missing_leaves_the_cpu():
    assert _ids(_devices(TorchBuild(None, error="No module named 'torch'"))) == ["cpu"]
