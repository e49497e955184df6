"""The words a person gets: the command of their system, the meaning of an installer's error."""

from __future__ import annotations

import pytest

from onebox.setup import remedies
from onebox.setup.errors import SetupError

SYSTEMS = ("debian", "fedora", "rhel", "suse", "arch", "alpine", "darwin", "windows")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ERROR: [Errno 28] No space left on device", "disk space"),
        ("SSLError(SSLCertVerificationError(1, 'CERTIFICATE_VERIFY_FAILED", "PIP_CERT"),
        ("ERROR: No matching distribution found for torch==2.13.0", "ONEBOX_TORCH_INDEX"),
        ("ERROR: Cannot install torch==2.13.0 because these\nResolutionImpossible", "HTTPS_PROXY"),
        ("ERROR: ResolutionImpossible: for help visit", "PIP_INDEX_URL"),
        ("NewConnectionError: Temporary failure in name resolution", "HTTPS_PROXY"),
        ("ReadTimeoutError: Read timed out.", "HTTPS_PROXY"),
        ("ERROR: No matching distribution found for ftfy==6.3.1", "PIP_INDEX_URL"),
        ("OSError: [Errno 13] Permission denied: '/srv'", "chown"),
        ("something nobody has seen before", "builds .venv anew"),
    ],
)
def test_install_failures(text: str, expected: str) -> None:
    assert expected in remedies.install_failure(text)


@pytest.mark.parametrize("system", SYSTEMS)
def test_each_system_has_its_own_command_and_uv(system: str) -> None:
    for remedy in (remedies.install_python(system), remedies.enable_venv("3.11", system)):
        assert "astral.sh/uv" in remedy
        assert "{" not in remedy


def test_debian_is_told_the_package_of_this_very_python() -> None:
    assert "sudo apt install python3.12-venv" in remedies.enable_venv("3.12", "debian")


@pytest.mark.parametrize(
    ("release", "package"),
    [("debian 12", "python3.11-venv"), ("ubuntu 24.04", "python3.12-venv"), ("ubuntu 18.04", "")],
)
def test_debian_installs_the_python_of_its_release(release: str, package: str) -> None:
    remedy = remedies.install_python("debian", release)
    assert package in remedy
    assert ("apt" in remedy) is bool(package)


def test_an_unknown_system_gets_words_instead_of_a_wrong_command() -> None:
    assert "install Python 3.13" in remedies.install_python("plan9")
    assert "venv module of Python 3.11" in remedies.enable_venv("3.11", "plan9")


@pytest.mark.parametrize(
    ("os_release", "family"),
    [
        ('NAME="Debian"\nID=debian\n', "debian"),
        ("ID=ubuntu\nID_LIKE=debian\n", "debian"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\n', "rhel"),
        ("ID=fedora\n", "fedora"),
        ('ID=linuxmint\nID_LIKE="ubuntu debian"\n', "debian"),
        ("ID=void\n", "linux"),
        ("", "linux"),
    ],
)
def test_distributions_fold_into_families(os_release: str, family: str) -> None:
    assert remedies.linux_family(os_release) == family


def test_the_error_prints_what_failed_and_what_to_do() -> None:
    assert str(SetupError("a", "b")) == "set-up failed: a\nWhat to do: b"
