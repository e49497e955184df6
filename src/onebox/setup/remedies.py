"""What to tell a person: the exact command of their system, and the meaning of an install error."""

from __future__ import annotations

import platform
import re
from pathlib import Path

_PYTHON = "3.13"  # what we tell people to install: carried by every system that is current

# system -> (a fitting Python, what lets that Python make environments); {v} is the version
_COMMANDS = {
    "debian": ("sudo apt install python{v} python{v}-venv", "sudo apt install python{v}-venv"),
    "fedora": ("sudo dnf install python{v}", "sudo dnf install python3-virtualenv"),
    "rhel": ("sudo dnf install python3.12 python3.12-pip", "sudo dnf install python{v}-pip"),
    "suse": (
        "sudo zypper install python313 python313-pip",
        "sudo zypper install python3-virtualenv",
    ),
    "arch": ("sudo pacman -S python", "sudo pacman -S python-virtualenv"),
    "alpine": ("sudo apk add python3 py3-pip", "sudo apk add py3-virtualenv"),
    "darwin": ("brew install python@{v}", "brew install python@{v}"),
    "windows": ("winget install Python.Python.{v}", "winget install Python.Python.{v}"),
}
# Debian and Ubuntu package one Python per release, so the command depends on the release.
_PACKAGED = {
    "debian 12": "3.11",
    "debian 13": "3.13",
    "ubuntu 22.04": "3.11",
    "ubuntu 24.04": "3.12",
    "ubuntu 26.04": "3.14",
}
_GET_UV = {
    "windows": 'powershell -c "irm https://astral.sh/uv/install.ps1 | iex"',
    "other": "curl -LsSf https://astral.sh/uv/install.sh | sh",
}

# The first pattern found in the installer's last lines explains the failure.
_INSTALL_HINTS = (
    (
        r"No space left on device|Errno 28|not enough space",
        "free some disk space (3 GB for the CPU build, 10 GB with CUDA or ROCm), then start again",
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED|SSLError|invalid peer certificate",
        "the certificate of the package index is not trusted here: behind a company proxy set "
        "PIP_CERT (uv: SSL_CERT_FILE) to its CA file, then start again",
    ),
    (
        r"name resolution|getaddrinfo|NewConnectionError|ConnectTimeout|Connection refused|"
        r"timed out|ProxyError|dns error|Network is unreachable|error sending request",
        "the package index could not be reached: check the network and HTTPS_PROXY, or name a "
        "mirror in PIP_INDEX_URL (uv: UV_DEFAULT_INDEX), then start again",
    ),
    # pip says the same for a silent index and for one without the version, so both are named.
    (
        r"No matching distribution found for torch\b|Cannot install torch==|requirement torch\b",
        "no torch was offered. Either the index could not be reached: check the network, "
        "HTTPS_PROXY and PIP_INDEX_URL. Or it has none for this Python, system and processor: use "
        "a 64-bit CPython 3.11 to 3.14, or name an index that has one in ONEBOX_TORCH_INDEX",
    ),
    (
        r"No matching distribution found|ResolutionImpossible|No solution found",
        "a version that constraints.txt pins was not offered. Either the index could not be "
        "reached: check the network and HTTPS_PROXY. Or it lacks that version: name an up-to-date "
        "one, such as https://pypi.org/simple, in PIP_INDEX_URL (uv: UV_DEFAULT_INDEX)",
    ),
    (
        r"Permission denied|Errno 13|Access is denied",
        "this user may not write here: make the project folder yours (chown), or move it into "
        "your home folder, then start again",
    ),
)
_NO_HINT = "read the lines above; the next start builds .venv anew"


def install_failure(text: str) -> str:
    """The remedy for a failed install, from the installer's own last lines."""
    for pattern, remedy in _INSTALL_HINTS:
        if re.search(pattern, text):
            return remedy
    return _NO_HINT


def install_python(system: str = "", release: str = "") -> str:
    """How to get a Python that fits, or uv, which needs no administrator and brings its own."""
    system, release = (system, release) if system else (current_system(), current_release())
    uv = _GET_UV.get(system, _GET_UV["other"])
    version = _PACKAGED.get(release, "") if system == "debian" else _PYTHON
    if not version:  # no package that fits in that release: an apt line would only fail
        return f"{uv}   and then   uv run app.py"
    command = _COMMANDS.get(system, ("install Python {v}", ""))[0].format(v=version)
    return f"{command}   - or, without administrator rights:  {uv}   and then   uv run app.py"


def enable_venv(version: str, system: str = "") -> str:
    """How to let this Python make virtual environments."""
    system = system or current_system()
    uv = _GET_UV.get(system, _GET_UV["other"])
    command = _COMMANDS.get(system, ("", f"install the venv module of Python {version}"))[1]
    return f"{command.format(v=version)}   - or install uv:  {uv}   - then start again"


def current_system() -> str:
    """A key of the command table: the Linux distribution's family, else the system's name."""
    name = platform.system().lower()
    return linux_family(_os_release()) if name == "linux" else name


def current_release() -> str:
    """The distribution's own name and version, such as `ubuntu 24.04`."""
    fields = _fields(_os_release())
    return f"{fields.get('ID', '')} {fields.get('VERSION_ID', '')}"


def linux_family(os_release: str) -> str:
    """ID, then ID_LIKE in order (Ubuntu is like Debian, Rocky like RHEL)."""
    fields = _fields(os_release)
    names = [fields.get("ID", ""), *fields.get("ID_LIKE", "").split()]
    return next((name for name in names if name in _COMMANDS), "linux")


def _fields(os_release: str) -> dict[str, str]:
    return dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', os_release, re.MULTILINE))


def _os_release() -> str:
    try:
        return Path("/etc/os-release").read_text(encoding="utf-8")
    except OSError:
        return ""
