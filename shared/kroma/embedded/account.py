"""Who runs the private PostgreSQL: it refuses to run as root."""

import os
import pwd
import stat
from pathlib import Path

from kroma.embedded.errors import EmbeddedServerError


def server_account() -> tuple[int, int] | None:
    """User and group id of ``nobody`` when we are root; None: as ourselves.

    Raises:
        EmbeddedServerError: This machine has no such account.
    """
    if os.geteuid() != 0:
        return None
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError as exc:
        raise EmbeddedServerError(
            "PostgreSQL",
            "it cannot run as root and this machine has no user 'nobody'; run kroma as another user",
        ) from exc
    return nobody.pw_uid, nobody.pw_gid


def others_can_reach(path: Path) -> bool:
    """Whether every existing folder down to ``path``, itself included, lets any account pass."""
    resolved = path.resolve()
    folders = [folder for folder in (resolved, *resolved.parents) if folder.is_dir()]
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in folders)
