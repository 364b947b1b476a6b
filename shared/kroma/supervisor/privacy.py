"""Keeping what `kroma up` keeps from the other users of the machine."""

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from kroma.storage.roots import KEPT, PROJECTS

UMASK: Final = 0o077
"""Of the supervisor and of all that it starts."""
_OWN_FILES: Final = frozenset({"callback.key", "kroma.lock", "postgres.location"})


def close_data_dir(data_dir: Path, *, is_passed_through: bool) -> None:
    """Make the folders of a data directory 0700 and its files 0600, those of an earlier version as well.

    Only what this user owns and Kroma knows: where other things lie in the folder too, they and the folder
    itself stay as they are. Symlinks are not followed.

    Args:
        data_dir: The folder.
        is_passed_through: Whether the database's account has to pass through it, which takes 0711.
    """
    for folder in (data_dir.joinpath(*PROJECTS[:length]) for length in (1, 2)):
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
    with os.scandir(data_dir) as entries:
        found = list(entries)
    for entry in found:
        if _is_ours(entry.name) and entry.name != "postgres":  # which sees to its own
            _close(entry)
    if all(_is_ours(entry.name) for entry in found):
        status = data_dir.stat()
        if status.st_uid == os.geteuid():
            data_dir.chmod(0o711 if is_passed_through else 0o700)


def _is_ours(name: str) -> bool:
    return name in KEPT or name in _OWN_FILES or name.startswith((".", "postgres-bin-", "postgres."))


def _close(entry: "os.DirEntry[str]") -> None:
    with suppress(FileNotFoundError, PermissionError):  # gone meanwhile, or another user's
        status = entry.stat(follow_symlinks=False)
        is_folder = stat.S_ISDIR(status.st_mode)
        if is_folder:
            with os.scandir(entry.path) as inner:
                for below in inner:
                    _close(below)
        is_kept_so = not status.st_mode & 0o077 or status.st_uid != os.geteuid()
        if not is_kept_so and (is_folder or stat.S_ISREG(status.st_mode)):
            Path(entry.path).chmod(stat.S_IMODE(status.st_mode) & ~0o077)
