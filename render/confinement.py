"""What a render process may do once it is warm: read the sources and the program, write the folder of new images.

Linux with Landlock (kernel 5.13) only; elsewhere the process keeps the rights of its account, and reports it.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_QUERY = 1
_PATH_BENEATH = 1
_PR_SET_NO_NEW_PRIVS = 38

_WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_FILE, _MAKE_REG, _TRUNCATE = (1 << bit for bit in (1, 2, 3, 5, 8, 14))
_PATH_ONLY, _AT_ONCE = getattr(os, "O_PATH", 0), getattr(os, "O_NONBLOCK", 0)
_READ = _READ_FILE | _READ_DIR
_WRITE = _READ | _WRITE_FILE | _REMOVE_FILE | _MAKE_REG | _TRUNCATE
_OF_FILES = _WRITE_FILE | _READ_FILE | _TRUNCATE
"""The kernel refuses other rights in a rule for a file."""
_RIGHTS_OF_ABI = (0, 13, 14, 15, 15, 16)
"""Number of file-system rights that each version of Landlock knows; later versions add none."""
_TCP_SINCE, _SCOPES_SINCE = 4, 6
_ALL_TCP = _ALL_SCOPES = 3

_SYSTEM = (
    *("/usr/lib", "/usr/lib64", "/lib", "/lib64", "/etc/ld.so.cache", "/usr/share/zoneinfo", "/etc/localtime"),
    *("/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/cpu"),
)
_OWN_PACKAGES = ("dicom", "domain", "render")
_REPOSITORY = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))


@dataclass(frozen=True, slots=True)
class Confinement:
    """What a process may reach. Paths are resolved; missing ones are left out.

    Attributes:
        read: files, and folders with their content; the program is readable anyway.
        write: a folder in which files may be made, changed and removed.
        hidden: files and folders that must not be readable; the confined process tries them once.
    """

    read: tuple[str, ...]
    write: str
    hidden: tuple[str, ...] = ()


class ConfinementState(StrEnum):
    """The result of a confinement."""

    OFF = "off"
    """Not requested."""
    CONFINED = "confined"
    READS_ALL = "reads_all"
    """Writing is confined; reading is not, since any file may be a source."""
    EXPOSED = "exposed"
    """In force, but a hidden path is inside a readable folder."""
    UNSUPPORTED = "unsupported"
    """This system has no Landlock, or does not allow it."""

    @property
    def words(self) -> str:
        """For an operator, in Chinese; empty if there is nothing to say."""
        return _WORDS[self][0]

    @property
    def sound(self) -> bool:
        """Whether nothing is left open."""
        return self is ConfinementState.CONFINED

    @property
    def english(self) -> str:
        """The words in English, for the log and the command line."""
        return _WORDS[self][1]


_WORDS = {
    ConfinementState.OFF: ("", ""),
    ConfinementState.CONFINED: (
        "渲染进程只能读取源目录，只能写入 .partial（Landlock）",
        "render processes may read the sources and write .partial only (Landlock)",
    ),
    ConfinementState.READS_ALL: (
        "渲染进程只限制写入（只能写入 .partial）；能读取本账号的全部文件，包括 .env：请设置 DICOM_SOURCE_PATH",
        "render processes may write .partial only, but read all that this account can, .env too: set DICOM_SOURCE_PATH",
    ),
    ConfinementState.EXPOSED: (
        "渲染进程只能写入 .partial，但仍能读取 .env 或 DATA_DIR："
        "DICOM_SOURCE_PATH 中的源目录或 OUTPUT_DIR 包含它们，请移开",
        "render processes may write .partial only, but read .env or DATA_DIR, "
        "which a folder of DICOM_SOURCE_PATH or OUTPUT_DIR holds: move them",
    ),
    ConfinementState.UNSUPPORTED: (
        "此系统没有 Landlock：渲染进程能读写本账号的全部文件，见 docs/security.zh-CN.md",
        "no Landlock: render processes may read and write all that this account can, see docs/security.md",
    ),
}
"""State → its words in Chinese and English: the rows of docs/security.md."""


def confine(wanted: Confinement | None) -> ConfinementState:
    """Takes from the calling thread and its children, for good, what they do not need."""
    if sys.platform != "linux":
        return ConfinementState.OFF if wanted is None else ConfinementState.UNSUPPORTED
    _libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if wanted is None:
        return ConfinementState.OFF
    abi = landlock_abi()
    try:
        if abi < 1:
            return ConfinementState.UNSUPPORTED
        _restrict(wanted, abi)
    except OSError:
        return ConfinementState.UNSUPPORTED
    return _in_force(wanted, exposed=any(map(_is_readable, wanted.hidden)))


def expected_state(wanted: Confinement) -> ConfinementState:
    """What :func:`confine` will return in a process."""
    if landlock_abi() < 1:
        return ConfinementState.UNSUPPORTED
    folders = [os.path.join(os.path.realpath(path), "") for path in (*wanted.read, wanted.write)]
    inside = [path for path in wanted.hidden if os.path.join(os.path.realpath(path), "").startswith(tuple(folders))]
    return _in_force(wanted, exposed=any(map(_is_readable, inside)))


def _in_force(wanted: Confinement, *, exposed: bool) -> ConfinementState:
    if os.path.abspath(os.sep) in wanted.read:
        return ConfinementState.READS_ALL
    return ConfinementState.EXPOSED if exposed else ConfinementState.CONFINED


def landlock_abi() -> int:
    """The kernel's version of Landlock; 0 if it has none."""
    if sys.platform != "linux":
        return 0
    try:
        return _call(_CREATE_RULESET, None, 0, _VERSION_QUERY)
    except OSError:
        return 0


def _restrict(wanted: Confinement, abi: int) -> None:
    """Takes all rights that this kernel can take, also those to send signals and to open TCP connections."""
    known = (1 << _RIGHTS_OF_ABI[min(abi, len(_RIGHTS_OF_ABI) - 1)]) - 1
    handled = [known]
    if abi >= _TCP_SINCE:
        handled.append(_ALL_TCP)
    if abi >= _SCOPES_SINCE:
        handled.append(_ALL_SCOPES)
    attributes = struct.pack(f"={len(handled)}Q", *handled)
    ruleset = _call(_CREATE_RULESET, attributes, len(attributes), 0)
    try:
        for path in (*wanted.read, *_program(wanted.hidden)):
            _allow(ruleset, path, _READ & known)
        _allow(ruleset, os.devnull, (_READ_FILE | _WRITE_FILE) & known)
        _allow(ruleset, wanted.write, _WRITE & known)
        _call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _program(hidden: tuple[str, ...]) -> Iterator[str]:
    """Sources of modules and libraries that are loaded late, without folders that hold a hidden path."""
    yield from _SYSTEM
    yield os.path.join(sys.base_prefix, "lib")
    yield from (os.path.join(_REPOSITORY, package) for package in _OWN_PACKAGES)
    secret = [os.path.realpath(path) for path in hidden]
    for entry in filter(None, sys.path):
        folder = os.path.realpath(entry)
        if folder != _REPOSITORY and not any(path.startswith(os.path.join(folder, "")) for path in secret):
            yield folder


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, _PATH_ONLY)
    except OSError:
        return  # missing, or not for this account either
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= _OF_FILES
        _call(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", rights, descriptor), 0)
    finally:
        os.close(descriptor)


def _is_readable(path: str) -> bool:
    """Whether a path, or the folder of a missing one, can be read."""
    try:
        os.close(os.open(path if os.path.exists(path) else os.path.dirname(path), os.O_RDONLY | _AT_ONCE))
    except OSError:
        return False
    return True


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _call(number: int, *arguments: int | bytes | None) -> int:
    """A system call that libc has no function for. Raises OSError."""
    words = (ctypes.c_long(each) if isinstance(each, int) else ctypes.c_char_p(each) for each in arguments)
    syscall = _libc().syscall
    syscall.restype = ctypes.c_long
    result: int = syscall(ctypes.c_long(number), *words)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result
