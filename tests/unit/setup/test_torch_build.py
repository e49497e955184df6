"""The table of torch builds, every row of it, and the probes that feed it."""

from __future__ import annotations

import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from onebox.setup import torch_build
from onebox.setup.process import Outcome
from onebox.setup.torch_build import Machine, choose, index_url, parse_nvidia_smi

NEW_DRIVER, OLD_DRIVER, TOO_OLD = (580, 65, 6), (570, 86), (470, 256)


@pytest.mark.parametrize(
    ("machine", "build"),
    [
        # No NVIDIA card: the CPU build; macOS and rare processors: the default source.
        (Machine("Linux", "x86_64"), "cpu"),
        (Machine("Linux", "aarch64"), "cpu"),
        (Machine("Windows", "x86_64"), "cpu"),
        (Machine("Darwin", "aarch64"), "default"),
        (Machine("Darwin", "x86_64"), "default"),
        (Machine("Windows", "aarch64"), "default"),
        (Machine("Linux", "ppc64le"), "default"),
        # A current driver and card: the current CUDA build.
        (Machine("Linux", "x86_64", NEW_DRIVER, ((9, 0),)), "cu130"),
        (Machine("Linux", "x86_64", NEW_DRIVER, ((7, 5),)), "cu130"),
        (Machine("Linux", "x86_64", NEW_DRIVER, ((12, 0),)), "cu130"),
        (Machine("Linux", "aarch64", NEW_DRIVER, ((9, 0),)), "cu130"),
        (Machine("Windows", "x86_64", NEW_DRIVER, ((8, 9),)), "cu130"),
        # An old card or an old driver: the older build that still carries it.
        (Machine("Linux", "x86_64", NEW_DRIVER, ((6, 1),)), "cu126"),
        (Machine("Linux", "x86_64", NEW_DRIVER, ((7, 0),)), "cu126"),
        (Machine("Linux", "x86_64", OLD_DRIVER, ((8, 6),)), "cu126"),
        (Machine("Linux", "x86_64", (525, 60, 13), ((5, 0),)), "cu126"),
        (Machine("Linux", "aarch64", OLD_DRIVER, ((8, 0),)), "cu126"),
        (Machine("Windows", "x86_64", OLD_DRIVER, ((6, 1),)), "cu126"),
        # Nothing carries it: the CPU build.
        (Machine("Linux", "x86_64", TOO_OLD, ((8, 6),)), "cpu"),
        (Machine("Linux", "x86_64", NEW_DRIVER, ((3, 5),)), "cpu"),
        (Machine("Linux", "x86_64", OLD_DRIVER, ((12, 0),)), "cpu"),
        (Machine("Linux", "aarch64", NEW_DRIVER, ((7, 2),)), "cpu"),
        (Machine("Windows", "x86_64", (527, 41), ((8, 6),)), "cpu"),
        # Several cards: the build that carries most of them, the newest of equals.
        (Machine("Linux", "x86_64", NEW_DRIVER, ((8, 6), (9, 0))), "cu130"),
        (Machine("Linux", "x86_64", NEW_DRIVER, ((6, 1), (8, 6))), "cu126"),
        (Machine("Linux", "x86_64", NEW_DRIVER, ((6, 1), (12, 0))), "cu130"),
        # A driver that does not tell its cards: the driver alone decides.
        (Machine("Linux", "x86_64", NEW_DRIVER), "cu130"),
        (Machine("Linux", "x86_64", OLD_DRIVER), "cu126"),
        (Machine("Linux", "x86_64", TOO_OLD), "cpu"),
        # ROCm exists for Linux on x86_64; a usable NVIDIA card comes first.
        (Machine("Linux", "x86_64", rocm=True), "rocm7.2"),
        (Machine("Linux", "aarch64", rocm=True), "cpu"),
        (Machine("Windows", "x86_64", rocm=True), "cpu"),
        (Machine("Linux", "x86_64", NEW_DRIVER, ((9, 0),), rocm=True), "cu130"),
        (Machine("Linux", "x86_64", TOO_OLD, ((8, 6),), rocm=True), "rocm7.2"),
    ],
)
def test_table(machine: Machine, build: str) -> None:
    assert choose(machine).build == build


def test_every_cuda_row_is_the_choice_of_some_machine() -> None:
    for row in torch_build.CUDA_BUILDS:
        oldest = Machine(*row.platform, driver=(row.driver,), capabilities=(row.oldest_card,))
        assert choose(oldest).build == row.name


def test_unused_nvidia_card_is_explained_with_numbers_and_a_remedy() -> None:
    note = choose(Machine("Linux", "x86_64", OLD_DRIVER, ((12, 0),))).note
    assert "570.86" in note
    assert "12.0" in note
    assert "580" in note
    assert choose(Machine("Linux", "x86_64")).note == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("580.65.06, 9.0\n", ((580, 65, 6), ((9, 0),))),
        ("580.65.06, 6.1\n580.65.06, 12.0\n", ((580, 65, 6), ((6, 1), (12, 0)))),
        ("470.256.02\n", ((470, 256, 2), ())),
        ("535.54, [N/A]\n", ((535, 54), ())),
        ("No devices were found\n", (None, ())),
        ("", (None, ())),
    ],
)
def test_nvidia_smi_answers(text: str, expected: object) -> None:
    assert parse_nvidia_smi(text) == expected


def test_old_nvidia_smi_is_asked_again_without_compute_cap() -> None:
    def old_smi(command: object, timeout_s: float) -> Outcome:
        return Outcome(2, "bad field") if "compute_cap" in str(command) else Outcome(0, "470.1\n")

    machine = torch_build.inspect(old_smi)
    assert machine.driver == (470, 1)
    assert machine.capabilities == ()


def test_no_nvidia_smi_means_no_driver() -> None:
    assert torch_build.inspect(lambda command, timeout_s: Outcome(127, "")).driver is None


def test_index_of_a_build() -> None:
    assert index_url("cu130") == "https://download.pytorch.org/whl/cu130"
    assert index_url("https://mirror.example/torch") == "https://mirror.example/torch"
    assert index_url("default") == ""


def test_override_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEBOX_TORCH_INDEX", " cu126 ")
    assert torch_build.override() == "cu126"
    monkeypatch.delenv("ONEBOX_TORCH_INDEX")
    assert torch_build.override() == ""


def test_what_is_no_url_does_not_answer() -> None:
    assert not torch_build.answers("not a url")


def test_a_silent_index_costs_no_more_than_its_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert not torch_build.answers(f"http://127.0.0.1:{port}", within_s=0.1)


def test_an_answering_index() -> None:
    class Index(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/cpu/torch/" else 404)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Index) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            assert torch_build.answers(f"http://127.0.0.1:{server.server_port}/cpu")
            assert not torch_build.answers(f"http://127.0.0.1:{server.server_port}/cu999")
        finally:
            server.shutdown()
            thread.join()
