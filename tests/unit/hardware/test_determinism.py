"""Torch's switches are thrown for a deterministic run and put back, whatever they were."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from onebox.core.contracts import Device
from onebox.hardware.determinism import Deterministic, lacks_deterministic_form

ATTENTION = ("math", "flash", "mem_efficient", "cudnn")
PLAIN = {
    "algorithms": 0,
    "benchmark": True,
    "deterministic": False,
    **dict.fromkeys(ATTENTION, True),
}
STRICT = {
    "algorithms": 2,
    "benchmark": False,
    "deterministic": True,
    "math": True,
    "flash": False,
    "mem_efficient": False,
    "cudnn": False,
}


class FakeTorch:
    """Torch's switches, and what they are set to."""

    def __init__(self) -> None:
        self.algorithms = 0
        self.attention = dict.fromkeys(ATTENTION, True)
        readers = {f"{name}_sdp_enabled": self._reader(name) for name in ATTENTION}
        writers = {f"enable_{name}_sdp": self._writer(name) for name in ATTENTION}
        self.backends = SimpleNamespace(
            cudnn=SimpleNamespace(benchmark=True, deterministic=False),
            cuda=SimpleNamespace(**readers, **writers),
        )

    def get_deterministic_debug_mode(self) -> int:
        return self.algorithms

    def set_deterministic_debug_mode(self, mode: int) -> None:
        self.algorithms = mode

    def state(self) -> dict[str, object]:
        return {"algorithms": self.algorithms, **vars(self.backends.cudnn), **self.attention}

    def _reader(self, name: str):
        return lambda: self.attention[name]

    def _writer(self, name: str):
        return lambda on: self.attention.__setitem__(name, on)


@pytest.fixture
def torch(monkeypatch):
    fake = FakeTorch()
    monkeypatch.setitem(sys.modules, "torch", fake)
    return fake


def device(kind: str) -> Device:
    return Device("x", kind, "X", kind, kind, 1, 1, "float32", "float32")


@pytest.mark.parametrize("kind", ["cuda", "rocm"])
def test_a_card_gets_one_way_to_compute(torch, kind):
    with Deterministic(device(kind)):
        assert torch.state() == STRICT
    assert torch.state() == PLAIN


@pytest.mark.parametrize("kind", ["cpu", "mps", "xpu"])
def test_others_get_deterministic_algorithms(torch, kind):
    with Deterministic(device(kind)):
        assert torch.state() == {**PLAIN, "algorithms": 2}
    assert torch.state() == PLAIN


def test_everything_is_put_back_after_an_error(torch):
    torch.algorithms = 1
    with pytest.raises(ValueError, match="broke"), Deterministic(device("cuda")):
        raise ValueError("it broke")
    assert torch.state() == {**PLAIN, "algorithms": 1}


def test_others_have_the_device_as_they_left_it(torch):
    with Deterministic(device("cuda")) as run:
        with run.suspended():
            assert torch.state() == PLAIN
            torch.backends.cudnn.benchmark = False
        assert torch.state() == STRICT
    assert torch.state() == {**PLAIN, "benchmark": False}


def test_an_error_while_others_have_the_device_ends_in_the_plain_state(torch):
    run = Deterministic(device("cuda"))
    with pytest.raises(ValueError, match="cancelled"), run, run.suspended():
        raise ValueError("cancelled")
    assert torch.state() == PLAIN


def test_two_runs_that_take_turns_leave_nothing_behind(torch):
    with (
        Deterministic(device("cuda")) as outer,
        outer.suspended(),
        Deterministic(device("cuda")) as inner,
    ):
        assert torch.state() == STRICT
        with inner.suspended():
            assert torch.state() == PLAIN
    assert torch.state() == PLAIN


def test_without_torch_there_is_nothing_to_switch(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    with Deterministic(device("cuda")) as run, run.suspended():
        assert "torch" not in sys.modules


def test_the_error_for_want_of_a_deterministic_form():
    text = (
        "upsample_bicubic2d_backward_out_cuda does not have a deterministic implementation, but "
        "you set 'torch.use_deterministic_algorithms(True)'."
    )
    assert lacks_deterministic_form(RuntimeError(text))
    assert not lacks_deterministic_form(RuntimeError("CUDA error: out of memory"))
    assert not lacks_deterministic_form(ValueError(text))
