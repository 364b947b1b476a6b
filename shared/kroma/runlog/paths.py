"""The names that pictures of a log have in their project."""

from collections.abc import Callable
from pathlib import PurePosixPath


def normal_path(path: str) -> str:
    r"""``path`` trimmed, ``\`` turned to ``/``, doubled and ``.`` parts dropped; blank stays blank."""
    text = path.strip().replace("\\", "/")
    if "//" not in text and "./" not in text and not text.endswith(("/", ".")):
        return text  # nearly always, and a large log has tens of thousands
    return str(PurePosixPath(text)) if text else ""


def below(root: str) -> Callable[[str], str]:
    """A function that names a path relative to ``root``, or as given when it lies elsewhere.

    Args:
        root: The log's ``storage.project_root``, absolute or relative to wherever its paths are;
            blank means nothing is known to lie inside.
    """
    base = normal_path(root)
    prefix = "" if base in {"", "."} else base.rstrip("/") + "/"

    def rel_path(path: str) -> str:
        name = normal_path(path)
        return name[len(prefix) :] if prefix and name.startswith(prefix) else name

    return rel_path
