from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from onebox.hardware.facts import SeenCard
from onebox.hardware.host import (
    anonymous_bytes,
    cgroup_memory,
    hidden_by,
    parse_cpuinfo,
    parse_nvidia_smi,
    parse_status,
    pci_cards,
    read_host,
    read_memory,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model name\t: AMD EPYC\nflags\t\t: fpu avx512f avx512_bf16\n", ("AMD EPYC", True)),
        ("model name : Xeon\nflags : amx_bf16 amx_tile\n", ("Xeon", True)),
        ("model name : Old\nflags : avx2 avx512f\nmodel name : Second\n", ("Old", False)),
        ("processor : 0\nFeatures : fp asimd bf16 i8mm\n", ("", True)),
        ("processor : 0\nFeatures : fp asimd ebf16\n", ("", False)),
        ("", ("", False)),
    ],
)
def test_cpuinfo(text, expected):
    assert parse_cpuinfo(text) == expected


def test_nvidia_smi():
    text = "NVIDIA H200, 580.95.05, GPU-1a-2b, 2048\nOdd, name, 570.1, GPU-3c, [N/A]\n\nno comma\n"
    assert parse_nvidia_smi(text) == [
        SeenCard("nvidia", "NVIDIA H200", "580.95.05", uuid="1a-2b", free_bytes=2 * 1024**3),
        SeenCard("nvidia", "Odd, name", "570.1", uuid="3c"),
    ]


def _write(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text + "\n")
    return folder


def test_cards_on_the_pci_bus(tmp_path):
    _write(tmp_path / "0000:00:00.0", vendor="0x10de", **{"class": "0x020000"})  # no display
    _write(tmp_path / "0000:01:00.0", vendor="0x10de", **{"class": "0x030200"})
    lent = _write(tmp_path / "0000:02:00.0", vendor="0x10de", **{"class": "0x030000"})
    (tmp_path.parent / "vfio-pci").mkdir()
    (lent / "driver").symlink_to(tmp_path.parent / "vfio-pci")
    small, large = str(512 * 1024**2), str(16 * 1024**3)
    _write(
        tmp_path / "0000:03:00.0",
        vendor="0x1002",
        mem_info_vram_total=small,
        **{"class": "0x030000"},
    )
    _write(
        tmp_path / "0000:04:00.0",
        vendor="0x1002",
        mem_info_vram_total=large,
        **{"class": "0x030000"},
    )
    _write(tmp_path / "0000:05:00.0", vendor="0x8086", **{"class": "0x030000"})
    (tmp_path / "0000:06:00.0").mkdir()
    assert list(pci_cards(tmp_path, "a note")) == [
        SeenCard("nvidia", "NVIDIA card at 0000:01:00.0", note="a note"),
        SeenCard("amd", "AMD card at 0000:04:00.0"),
    ]


def test_no_pci_bus(tmp_path):
    assert list(pci_cards(tmp_path / "none")) == []


def test_memory_of_a_cgroup(tmp_path):
    files = {"memory__max": "1000", "memory__current": "400", "memory__stat": "inactive_file 100"}
    _write(tmp_path, **files)
    assert cgroup_memory(tmp_path) == (1000, 300)
    _write(tmp_path / "own", **{**files, "memory__max": "500"})
    assert cgroup_memory(tmp_path, "own") == (500, 300)
    _write(tmp_path / "own", memory__max="max")
    assert cgroup_memory(tmp_path, "own") == (1000, 300)


def test_memory_of_a_version_1_cgroup(tmp_path):
    _write(
        tmp_path / "memory",
        memory__limit_in_bytes="1000",
        memory__usage_in_bytes="400",
        memory__stat="cache 5\ntotal_inactive_file 50",
    )
    assert cgroup_memory(tmp_path) == (1000, 350)


def test_no_cgroup(tmp_path):
    assert cgroup_memory(tmp_path) is None


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"CUDA_VISIBLE_DEVICES": "0"}, None),
        ({"CUDA_VISIBLE_DEVICES": ""}, "CUDA_VISIBLE_DEVICES="),
        ({"HIP_VISIBLE_DEVICES": "-1"}, "HIP_VISIBLE_DEVICES=-1"),
    ],
)
def test_hidden_by(environment, expected):
    assert hidden_by(environment) == expected


def test_this_host():
    host = read_host()
    assert host.name
    assert host.cores >= 1
    assert 0 <= host.available_bytes <= host.total_bytes


def test_memory_is_the_same_in_both_ways_to_ask():
    total, available = read_memory()
    assert total == read_host().total_bytes
    assert 0 <= available <= total


def test_memory_of_a_status_file():
    text = "Name:\tpython\nVmHWM:\t  61336 kB\nRssAnon:\t    4048 kB\nThreads:\t1\n"
    assert parse_status(text) == {"VmHWM": 61336 * 1024, "RssAnon": 4048 * 1024}
    assert parse_status("") == {}


def test_anonymous_memory_is_a_part_of_all_that_a_process_holds():
    assert 0 < anonymous_bytes(os.getpid()) <= 2 * psutil.Process().memory_info().rss


def test_a_process_that_is_gone_holds_nothing():
    assert anonymous_bytes(2**30) == 0
