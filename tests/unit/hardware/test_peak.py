"""The working memory of one run, from the kernel's account and from torch's."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from onebox.core.contracts import Device
from onebox.hardware.peak import PeakMeter

MIB = 1024**2
CPU = Device("cpu", "cpu", "A CPU", "cpu", "host", 1, 1, "float32", "float32")
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps this account")


def card(kind: str) -> Device:
    return Device("x:0", kind, "A card", "x:0", "x:0", 1, 1, "float32", "float32")


def take(size_bytes: int) -> bytearray:
    """Memory that is really used: every page is written to."""
    taken = bytearray(size_bytes)
    taken[::4096] = b"x" * len(taken[::4096])
    return taken


@on_linux
def test_the_peak_of_a_run_on_the_host():
    meter = PeakMeter(CPU)
    take(200 * MIB)  # an earlier peak does not count
    held = take(100 * MIB)  # nor does what was there before
    meter.start()
    take(50 * MIB)
    assert 45 * MIB <= meter.stop() < 120 * MIB
    del held


@on_linux
def test_a_run_that_takes_nothing_has_next_to_no_peak():
    meter = PeakMeter(CPU)
    meter.start()
    assert 0 <= meter.stop() < 16 * MIB


def write_proc(folder: Path, *, peak: int, resident: int, files: int) -> None:
    lines = {"VmHWM": peak, "VmRSS": resident, "RssFile": files}
    text = "".join(f"{name}:\t{size} kB\n" for name, size in lines.items())
    (folder / "status").write_text(text, encoding="ascii")


@on_linux
def test_pages_of_files_are_not_counted(tmp_path):
    meter = PeakMeter(CPU, tmp_path)
    write_proc(tmp_path, peak=1000, resident=1000, files=100)
    meter.start()
    assert (tmp_path / "clear_refs").read_text() == "5"
    write_proc(tmp_path, peak=1900, resident=1500, files=300)
    assert meter.stop() == 700 * 1024


@on_linux
def test_a_peak_is_never_negative(tmp_path):
    meter = PeakMeter(CPU, tmp_path)
    write_proc(tmp_path, peak=1000, resident=1000, files=100)
    meter.start()
    write_proc(tmp_path, peak=1000, resident=1000, files=300)
    assert meter.stop() == 0


def test_what_may_not_be_measured_is_unknown(tmp_path):
    meter = PeakMeter(CPU, tmp_path / "missing")
    meter.start()
    assert meter.stop() is None


def test_a_kernel_that_does_not_tell_leaves_it_unknown(tmp_path):
    (tmp_path / "status").write_text("Name:\tpython\n", encoding="ascii")
    meter = PeakMeter(CPU, tmp_path)
    meter.start()
    assert meter.stop() is None


class FakeSpace:
    """`torch.cuda` of a process whose tensors take `now` bytes."""

    def __init__(self, now: int) -> None:
        self.now = self.peak = now

    def take(self, size_bytes: int) -> None:
        self.peak = max(self.peak, self.now + size_bytes)

    def reset_peak_memory_stats(self, device: str) -> None:
        assert device == "x:0"
        self.peak = self.now

    def memory_allocated(self, device: str) -> int:
        return self.now

    def max_memory_allocated(self, device: str) -> int:
        return self.peak


@pytest.mark.parametrize(("kind", "name"), [("cuda", "cuda"), ("rocm", "cuda"), ("xpu", "xpu")])
def test_the_peak_of_a_run_on_a_card(monkeypatch, kind, name):
    space = FakeSpace(now=100)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(**{name: space}))
    meter = PeakMeter(card(kind))
    space.take(900)  # before the start
    meter.start()
    space.take(40)
    space.take(30)
    assert meter.stop() == 40


def test_a_card_that_fails_leaves_it_unknown(monkeypatch):
    space = FakeSpace(now=100)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=space))
    meter = PeakMeter(card("cuda"))
    meter.start()

    def fail(device: str) -> int:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    space.max_memory_allocated = fail
    assert meter.stop() is None


@pytest.mark.parametrize("kind", ["mps", "cuda"])
def test_where_nobody_keeps_the_account_it_is_unknown(monkeypatch, kind):
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace())
    meter = PeakMeter(card(kind))
    meter.start()
    assert meter.stop() is None


def test_without_torch_or_a_start_it_is_unknown(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    meter = PeakMeter(card("cuda"))
    assert meter.stop() is None
    meter.start()
    assert meter.stop() is None
    assert "torch" not in sys.modules
