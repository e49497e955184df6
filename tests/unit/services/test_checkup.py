"""What a check-up finds: weak keys, open doors, taken ports, wrong clocks, silent servers."""

from __future__ import annotations

import http.server
import os
import socket
import sys
import threading
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from onebox.core.settings import Settings
from onebox.services.checkup.clock import EARLIEST, check_clock
from onebox.services.checkup.everything import check_all
from onebox.services.checkup.exposure import check_exposure
from onebox.services.checkup.findings import Findings
from onebox.services.checkup.ports import check_port
from onebox.services.checkup.reach import check_reach
from onebox.services.checkup.secret_strength import check_secrets, weakness_of
from onebox.services.data_dir import holder_of, lock_data_dir

STRONG = "ob-ChtK4proSySPmsmn6U-xdZLHCs8vMsf9GuDeDZYQERQ"
OTHER = "Zt7_Qm2vX9cLr4Yp0sKd8wJh6NbGf3Ta1UeViOyRuEl"
posix = pytest.mark.skipif(sys.platform == "win32", reason="modes mean nothing there")


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ONEBOX_ROOT", str(tmp_path))

    def make(**given) -> Settings:
        plain = {"root": tmp_path, "data_dir": Path("data"), "host": "127.0.0.1", "port": 0}
        return Settings(**{**plain, "api_keys": (STRONG,), "admin_keys": (), **given})

    return make


def found(check, settings: Settings, **more) -> Findings:
    findings = Findings()
    check(settings, findings, **more)
    return findings


class TestKeys:
    def test_long_random_keys_are_no_matter(self, settings):
        given = settings(host="0.0.0.0", admin_keys=(OTHER,), secret_key=STRONG[::-1])
        assert found(check_secrets, given) == Findings()

    @pytest.mark.parametrize("text", ["changeme", " Secret ", "your-api-key"])
    def test_a_key_of_an_example_is_always_a_problem(self, settings, text):
        (problem,) = found(check_secrets, settings(api_keys=(STRONG, text))).problems
        assert problem.startswith("key 2 of API_KEYS is empty or an example's: python3 -c")
        assert text.strip() not in problem

    @pytest.mark.parametrize(("host", "is_problem"), [("127.0.0.1", False), ("0.0.0.0", True)])
    def test_a_short_key_matters_where_others_can_try(self, settings, host, is_problem):
        findings = found(check_secrets, settings(host=host, admin_keys=("k3y-0f-m1ne",)))
        told = findings.problems if is_problem else findings.warnings
        assert told[0].startswith("key 1 of ONEBOX_ADMIN_KEYS has 11 characters, fewer than 16: ")
        assert (findings.problems == []) != is_problem

    def test_what_repeats_itself_is_weak_however_long(self):
        assert "repeats itself" in str(weakness_of("a" * 40))
        assert weakness_of(STRONG) is None

    def test_a_secret_key_is_as_long_as_its_hash(self, settings):
        (warning,) = found(check_secrets, settings(secret_key=STRONG[:31])).warnings
        assert warning.startswith("SECRET_KEY has 31 bytes, HS256 needs 32: ")

    def test_the_same_key_twice_is_a_problem(self, settings):
        (problem,) = found(check_secrets, settings(admin_keys=(STRONG,))).problems
        assert "key 1 of ONEBOX_ADMIN_KEYS is the same as key 1 of API_KEYS" in problem
        assert STRONG not in problem


class TestExposure:
    def test_a_server_for_this_machine_alone_is_no_matter(self, settings):
        assert found(check_exposure, settings()) == Findings()

    def test_a_public_address_without_tls_is_told(self, settings):
        (warning,) = found(check_exposure, settings(host="0.0.0.0")).warnings
        assert warning.startswith("HOST=0.0.0.0 is reachable without TLS")

    def test_a_proxy_that_is_not_trusted_is_told(self, settings):
        named = {"public_url": "https://onebox.example"}
        (warning,) = found(check_exposure, settings(**named)).warnings
        assert "ONEBOX_TRUSTED_PROXIES is empty" in warning
        trusted = settings(**named, trusted_proxies=("127.0.0.1",))
        assert found(check_exposure, trusted) == Findings()

    def test_an_open_door_for_pages_is_told(self, settings):
        (warning,) = found(check_exposure, settings(cors_origins=("*",))).warnings
        assert warning.startswith("CORS_ORIGINS=* lets any web page call")

    @posix
    @pytest.mark.parametrize("name", ["data/admin.key", ".env", "onebox.toml"])
    def test_secrets_that_others_can_read_are_a_problem(self, settings, tmp_path, name):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("# the key\n")
        path.chmod(0o640)
        (problem,) = found(check_exposure, settings()).problems
        assert problem.endswith(f"(mode 0640): chmod 600 {path}")
        path.chmod(0o600)
        assert found(check_exposure, settings()) == Findings()


class TestPort:
    def test_a_free_one_is_no_matter(self, settings):
        assert found(check_port, settings()) == Findings()

    @pytest.fixture
    def taken(self) -> Iterator[int]:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            yield listening.getsockname()[1]

    def test_one_that_another_process_has_is_a_problem(self, settings, taken):
        (problem,) = found(check_port, settings(port=taken)).problems
        assert problem.startswith(f"port {taken} of 127.0.0.1 is taken by process {os.getpid()} (")
        assert problem.endswith("): stop it, or set PORT")

    def test_our_own_server_may_have_it(self, settings, taken, tmp_path):
        (tmp_path / "data").mkdir()
        lock = lock_data_dir(tmp_path / "data")
        try:
            assert found(check_port, settings(port=taken)) == Findings()
        finally:
            lock.release()
        assert holder_of(tmp_path / "data") is None
        assert found(check_port, settings(port=taken)).problems

    def test_an_address_of_another_machine_is_a_problem(self, settings):
        (problem,) = found(check_port, settings(host="192.0.2.1", port=8000)).problems
        assert problem.startswith("HOST=192.0.2.1 is no address of this machine")


class TestClock:
    def test_one_that_is_kept_right_is_no_matter(self, settings):
        right = {"clock": lambda: EARLIEST + 9.0, "unsynchronised": lambda: False}
        assert found(check_clock, settings(), **right) == Findings()

    def test_one_that_nothing_keeps_right_is_told(self, settings):
        left = {"clock": lambda: EARLIEST + 9.0, "unsynchronised": lambda: True}
        (warning,) = found(check_clock, settings(), **left).warnings
        assert warning.startswith("nothing keeps the clock right: set the clock")

    def test_a_year_that_cannot_be_is_a_problem(self, settings):
        (problem,) = found(check_clock, settings(), clock=lambda: 0.0).problems
        assert problem.startswith("the clock says 1970-01-01, which cannot be")

    def test_a_clock_that_went_back_is_a_problem(self, settings, tmp_path):
        written = tmp_path / "data" / "onebox.db"
        written.parent.mkdir()
        written.touch()
        os.utime(written, (EARLIEST + 500, EARLIEST + 500))
        (problem,) = found(check_clock, settings(), clock=lambda: EARLIEST + 100.0).problems
        assert "was written 400 s later" in problem


class _Backend(http.server.BaseHTTPRequestHandler):
    """Allows what it is asked for, at the time that the test says."""

    date = ""

    def do_OPTIONS(self) -> None:
        self.send_response_only(204)
        self.send_header("Date", self.date)
        self.end_headers()

    def log_message(self, *_) -> None: ...


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(_Backend, "date", formatdate(usegmt=True))
    with http.server.HTTPServer(("127.0.0.1", 0), _Backend) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/verify"
        server.shutdown()
        thread.join()


def silent() -> str:
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return f"127.0.0.1:{found.getsockname()[1]}"


class TestReach:
    def test_who_answers_is_no_matter(self, settings, backend):
        given = settings(auth_verify_url=backend, otel_endpoint=backend)
        assert found(check_reach, given) == Findings()

    def test_who_does_not_answer_is_named_by_its_setting(self, settings):
        gone = silent()
        given = settings(
            credit_check_url=f"http://{gone}/credits",
            limits_url=f"redis://:hidden-1@{gone}/0",
            otel_endpoint=f"http://{gone}",
        )
        problems = found(check_reach, given).problems
        names = ["ONEBOX_CREDIT_CHECK_URL", "ONEBOX_LIMITS_URL", "ONEBOX_OTEL_ENDPOINT"]
        assert [problem.split(" (")[0] for problem in problems] == names
        assert all("it cannot be connected to" in problem for problem in problems)
        assert "hidden-1" not in str(problems)

    def test_a_clock_that_differs_from_theirs_is_a_problem(self, settings, backend, monkeypatch):
        monkeypatch.setattr(_Backend, "date", "Wed, 01 Jan 2020 00:00:00 GMT")
        (problem,) = found(check_reach, settings(auth_verify_url=backend)).problems
        assert problem.startswith("the clock differs from that of http://127.0.0.1:")


def test_everything_is_looked_at_at_once(settings, tmp_path):
    (tmp_path / ".env").write_text("ONEBOX_MAX_QEUE=3\n")
    findings = check_all(
        settings(host="0.0.0.0", api_keys=("changeme",), otel_endpoint=f"http://{silent()}")
    )
    told = "\n".join([*findings.problems, *findings.warnings])
    for words in ("an example's", "without TLS", "OTEL_ENDPOINT", "ONEBOX_MAX_QUEUE?"):
        assert words in told
