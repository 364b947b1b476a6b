"""Names of earlier versions that are still accepted."""

from collections.abc import Mapping
from typing import Final

OLD_NAMES: Final[Mapping[str, str]] = {
    "bell": "queue",  # a health check
    "cancelling": "canceling",  # the status of a run, in filters
    "colour": "color",  # a check of pictures: in manifests, and in steps and logs of earlier versions
}


def current_name(name: str) -> str:
    """The name that replaced ``name``, or ``name`` itself."""
    return OLD_NAMES.get(name, name)
