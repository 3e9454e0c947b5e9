"""What only one operating system has is used only there: read off the code, since the tests run on one of them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOT_SHIPPED = {"tests", "demo", "benchmarks", "sandbox", "build"}
ONE_SYSTEM_MODULES = {"fcntl", "grp", "msvcrt", "pwd", "resource", "syslog", "termios", "tty", "winreg", "winsound"}
ONE_SYSTEM_NAMES = {
    "os": {
        *("chown", "chroot", "fchmod", "fchown", "fork", "forkpty", "getegid", "geteuid", "getgid", "getgroups"),
        *("getloadavg", "getpgid", "getpgrp", "getpriority", "getsid", "getuid", "initgroups", "kill", "killpg"),
        *("lchown", "lockf", "mkfifo", "mknod", "nice", "openpty", "pipe2", "posix_fadvise", "posix_fallocate"),
        *("posix_spawn", "pread", "preadv", "pwrite", "pwritev", "sched_getaffinity", "sched_setaffinity", "sendfile"),
        *("setegid", "seteuid", "setgid", "setgroups", "setpgid", "setpriority", "setsid", "setuid", "startfile"),
        *("statvfs", "sync", "sysconf", "uname", "wait", "wait3", "wait4", "O_BINARY", "O_CLOEXEC", "O_DIRECT"),
        *("O_DIRECTORY", "O_DSYNC", "O_NOATIME", "O_NOFOLLOW", "O_NONBLOCK", "O_PATH", "O_SYNC", "O_TMPFILE"),
    },
    "signal": {
        *("SIGALRM", "SIGBREAK", "SIGCHLD", "SIGCONT", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGQUIT", "SIGSTOP", "SIGTSTP"),
        *("SIGUSR1", "SIGUSR2", "alarm", "pause", "pthread_kill", "pthread_sigmask", "setitimer", "sigwait"),
    },
    "socket": {"AF_UNIX", "SO_REUSEPORT", "send_fds", "recv_fds"},
    "time": {"tzset", "clock_settime"},
}
ONE_SYSTEM_CALLS = {"add_signal_handler", "remove_signal_handler"}
ONE_SYSTEM_ARGUMENTS = {"preexec_fn", "pass_fds", "dir_fd"}
KNOWN = {
    ("render/worker_main.py", "os.sysconf"): "reached only where /proc/self/statm could be opened",
    ("render/worker_main.py", "os.pread"): "reached only where /proc/self/statm could be opened",
}

FILES = [
    path
    for path in sorted(ROOT.glob("**/*.py"))
    if path.relative_to(ROOT).parts[0] not in NOT_SHIPPED and not path.relative_to(ROOT).parts[0].startswith(".")
]


def asks_for_the_system(test: ast.expr) -> bool:
    return "sys.platform" in ast.unparse(test) or "os.name" in ast.unparse(test)


def leaves_on_another_system(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """It begins with ``if sys.platform == ...: return``."""
    for statement in function.body:
        if isinstance(statement, ast.If) and asks_for_the_system(statement.test):
            return isinstance(statement.body[-1], ast.Return)
    return False


def unguarded(node: ast.AST) -> Iterator[ast.AST]:
    """Everything below a node that runs on every system."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and asks_for_the_system(child.test):
            continue
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and leaves_on_another_system(child):
            continue
        yield child
        yield from unguarded(child)


def one_systems(node: ast.AST) -> Iterator[str]:
    """Names that a node uses and that not every system has."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in ONE_SYSTEM_MODULES)
    elif isinstance(node, ast.ImportFrom) and node.module:
        names = ONE_SYSTEM_NAMES.get(node.module, set())
        yield from (f"{node.module}.{alias.name}" for alias in node.names if alias.name in names)
        if node.module in ONE_SYSTEM_MODULES:
            yield node.module
    elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        if node.attr in ONE_SYSTEM_NAMES.get(node.value.id, ()):
            yield f"{node.value.id}.{node.attr}"
        elif node.attr in ONE_SYSTEM_CALLS:
            yield node.attr
    elif isinstance(node, ast.keyword) and node.arg in ONE_SYSTEM_ARGUMENTS:
        yield node.arg


def found_in(source: str) -> set[str]:
    return {name for node in unguarded(ast.parse(source)) for name in one_systems(node)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_of_one_system_is_used_on_all(path: Path) -> None:
    file = path.relative_to(ROOT).as_posix()
    assert {name for name in found_in(path.read_text("utf-8")) if (file, name) not in KNOWN} == set()


@pytest.mark.parametrize(
    "source",
    [
        "import fcntl",
        "from resource import getrlimit",
        "import os\ndef f():\n    os.killpg(1, 9)",
        "import signal\nsignal.signal(signal.SIGHUP, print)",
        "loop.add_signal_handler(15, stop)",
        "Popen([], preexec_fn=f)",
        "import sys\nif sys.argv:\n    import pwd",
    ],
)
def test_the_check_sees_what_it_is_for(source: str) -> None:
    assert found_in(source)


@pytest.mark.parametrize(
    "source",
    [
        "import sys\nif sys.platform == 'win32':\n    import msvcrt\nelse:\n    import fcntl",
        "import sys\ndef f():\n    if sys.platform == 'win32':\n        return\n    os.killpg(1, 9)",
    ],
)
def test_what_asks_for_the_system_first_may_use_it(source: str) -> None:
    assert found_in(source) == set()
