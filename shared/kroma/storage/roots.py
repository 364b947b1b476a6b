"""Where on a disk a project's files may be: beside what Kroma keeps for itself, never among it.

Inside the data directory those are the folders below ``var/projects``, and folders of other names that
nothing of Kroma's has. What Kroma keeps there grows, so its files have names with a dot and its folders are
in one list, which a test compares with a running installation.
"""

# What is compared are texts of paths, so this module speaks text throughout.
# ruff: noqa: PTH100

import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from kroma.storage.errors import RootMovedError, RootNotAllowedError

PROJECTS: Final = ("var", "projects")
"""The folder of projects, below the data directory."""
KEPT: Final = frozenset(
    {"config", "idempotency", "logs", "postgres", "run", "spool", "token", "tools", "tokens", "valkey", "var"}
)
"""Names in the data directory that are Kroma's; it also has every name with a dot."""
_OPERATORS: Final = frozenset({"config", "tools"})
"""Of these, what the operator puts there."""
_KEPT_SUFFIXES: Final = (".key", ".lock", ".location", ".partial")
_OF_THE_KERNEL: Final = ("/proc", "/sys")
"""They show processes, and what these were started with."""
_LONGEST_PATH_BYTES: Final = 1024
"""What every system takes, and an index of the database."""
_LONGEST_NAME_BYTES: Final = 255


class ProjectRoots:
    """The places of one machine's disk where projects may be."""

    def __init__(self, data_dir: Path, *, allow_any_root: bool, kept: Iterable[Path] = ()) -> None:
        """Places below ``data_dir``, and anywhere else where that is allowed, but never around ``kept``."""
        self._data_dir = os.path.abspath(data_dir)
        self._real_data_dir = os.path.realpath(data_dir)
        self._allow_any_root = allow_any_root
        self._kept = [os.path.realpath(path) for path in kept]

    def resolve(self, root: str) -> str:
        """How a root is registered: where it leads now, from the data directory where it is inside.

        So an installation may be moved with its data directory.

        Raises:
            RootNotAllowedError: No project may be there.
        """
        if "\0" in root or not _is_usable(root):
            raise RootNotAllowedError(root.replace("\0", "\\0"))
        return self._registered(root, os.path.realpath(root))

    def real_root(self, root: str, registered: str | None) -> str:
        """Where a project's files are used: where they were registered, or nowhere.

        A root that is not registered is used where its own text leads, without any symlink.

        Raises:
            RootNotAllowedError: No project may be there.
            RootMovedError: It leads elsewhere than when it was registered.
        """
        real = os.path.realpath(root)
        if self._registered(root, real) != (registered or self._written(root)):
            raise RootMovedError(root)
        return real

    def _registered(self, root: str, real: str) -> str:
        if _overlap(real, self._real_data_dir) and not _is_below(real, self._real_data_dir):
            raise RootNotAllowedError(root)
        if any(_overlap(real, kept) for kept in self._kept):
            raise RootNotAllowedError(root)
        if _is_below(real, self._real_data_dir):
            inside = real[len(self._real_data_dir.rstrip("/")) + 1 :]
            if not _may_be_a_projects(inside.split("/")):
                raise RootNotAllowedError(root)
            return inside
        if not self._allow_any_root or any(_overlap(real, root) for root in _OF_THE_KERNEL):
            raise RootNotAllowedError(root)
        return real

    def _written(self, root: str) -> str:
        path = os.path.abspath(root)
        if _is_below(path, self._data_dir):
            return path[len(self._data_dir.rstrip("/")) + 1 :]
        return path


def is_kept(inside: str) -> bool:
    """Whether a path from the data directory is Kroma's or in a project, and no file of the operator's."""
    first = _folded(inside.split("/", maxsplit=1)[0])
    return first in KEPT - _OPERATORS or first.endswith(_KEPT_SUFFIXES)


def is_at_or_below(path: str, folder: str) -> bool:
    """Whether a registered path is a folder or below it, by whole names."""
    return path == folder or _is_below(path, folder)


def _may_be_a_projects(names: list[str]) -> bool:
    first = _folded(names[0])
    if first == PROJECTS[0]:
        return tuple(names[:2]) == PROJECTS and len(names) > len(PROJECTS)
    return first not in KEPT and "." not in first


def _is_usable(path: str) -> bool:
    try:
        encoded = path.encode()
    except UnicodeEncodeError:
        return False
    return len(encoded) <= _LONGEST_PATH_BYTES and all(
        len(name) <= _LONGEST_NAME_BYTES for name in encoded.split(b"/")
    )


def _folded(name: str) -> str:
    """A name as disks that ignore case and composition compare it."""
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def _overlap(one: str, other: str) -> bool:
    one, other = _folded(one), _folded(other)
    return one == other or _is_below(one, other) or _is_below(other, one)


def _is_below(path: str, folder: str) -> bool:
    return path.startswith(f"{folder.rstrip('/')}/") and path != folder
