"""Paths of a log's pictures in their project."""

from collections.abc import Callable
from pathlib import PurePosixPath


def normal_path(path: str) -> str:
    r"""``path`` trimmed, with ``\`` replaced by ``/`` and empty and ``.`` parts removed."""
    text = path.strip().replace("\\", "/")
    if "//" not in text and "./" not in text and not text.endswith(("/", ".")):
        return text  # the usual case, and a large log has tens of thousands of paths
    return str(PurePosixPath(text)) if text else ""


def below(root: str) -> Callable[[str], str]:
    """A function that makes paths below ``root`` relative to it and leaves others as they are.

    Args:
        root: The log's ``storage.project_root``, in the same form as its paths; may be blank.
    """
    base = normal_path(root)
    prefix = "" if base in {"", "."} else base.rstrip("/") + "/"

    def rel_path(path: str) -> str:
        name = normal_path(path)
        return name[len(prefix) :] if prefix and name.startswith(prefix) else name

    return rel_path
