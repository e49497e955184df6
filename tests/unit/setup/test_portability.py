"""Runs before anything is installed, on any Python since 3.8; and one module knows the systems."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SOURCES = ROOT / "src" / "onebox"
BEFORE_SETUP = [
    ROOT / "app.py",
    ROOT / "test.py",
    SOURCES / "__init__.py",
    *sorted((SOURCES / "setup").glob("*.py")),
]

# The only module that may use what some system lacks.
SYSTEM_MODULE = SOURCES / "core" / "os_support.py"
# Run in processes of their own, and ask for the system before they use these.
LONE_SCRIPTS = (
    SOURCES / "core" / "confinement.py",
    SOURCES / "language" / "prompts" / "template_child.py",
    SOURCES / "audio" / "decoding" / "child.py",
    SOURCES / "services" / "pickles" / "child.py",
)
POSIX_MODULES = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}
POSIX_NAMES = {
    "os": {
        "WIFEXITED", "chown", "fchmod", "fork", "forkpty", "getegid", "geteuid", "getgid",
        "getloadavg", "getpgid", "getuid", "killpg", "mkfifo", "nice", "openpty", "pread",
        "sched_getaffinity", "sched_setaffinity", "setsid", "statvfs", "uname", "wait3", "wait4",
    },
    "signal": {
        "SIGALRM", "SIGCHLD", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGQUIT", "SIGUSR1", "SIGUSR2",
        "alarm", "pthread_kill", "setitimer", "sigwait",
    },
}  # fmt: skip
POSIX_KEYWORDS = {"preexec_fn", "start_new_session", "pass_fds"}


def posix_only(tree: ast.AST) -> list[str]:
    """Every use, in this file, of a module, a name or an argument that Windows lacks."""
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name in POSIX_MODULES]
        elif isinstance(node, ast.ImportFrom):
            names = POSIX_NAMES.get(node.module or "", set())
            found += [alias.name for alias in node.names if alias.name in names]
            found += [node.module] if node.module in POSIX_MODULES else []
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.attr in POSIX_NAMES.get(node.value.id, set()):
                found.append(f"{node.value.id}.{node.attr}")
        elif isinstance(node, ast.keyword) and node.arg in POSIX_KEYWORDS:
            found.append(node.arg)
    return found


@pytest.mark.parametrize("path", BEFORE_SETUP, ids=lambda path: path.name)
def test_parses_on_python_3_8(path: Path) -> None:
    ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 8))


@pytest.mark.parametrize("path", BEFORE_SETUP, ids=lambda path: path.name)
def test_needs_the_standard_library_only(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    for node in top:
        names = (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [a.name for a in node.names]
        )
        for name in names:
            assert name.split(".")[0] in sys.stdlib_module_names or name.startswith("onebox.setup")


def test_nothing_posix_only_outside_one_module() -> None:
    uses = {
        str(path.relative_to(SOURCES)): found
        for path in SOURCES.rglob("*.py")
        if path not in (SYSTEM_MODULE, *LONE_SCRIPTS)
        and (found := posix_only(ast.parse(path.read_text(encoding="utf-8"))))
    }
    assert uses == {}, f"belongs into {SYSTEM_MODULE.relative_to(ROOT)}"


def test_the_lint_sees_what_it_should() -> None:
    text = "import fcntl\nfrom os import fork\nimport os\nos.getuid()\nPopen(preexec_fn=f)"
    assert sorted(posix_only(ast.parse(text))) == ["fcntl", "fork", "os.getuid", "preexec_fn"]
