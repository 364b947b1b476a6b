"""Ids that come out the same on every ingest, for the rows whose log carries none."""

from hashlib import sha256
from uuid import UUID


def stable_id(base: UUID, *parts: str | int) -> UUID:
    """An id that depends on ``base`` and ``parts`` alone, shaped like a random (version 4) one.

    Args:
        base: The id it hangs on: a project's for a run or asset, a run's for what the run made.
        parts: What tells it from its siblings, like ``"report", "style_1_harbor", 2``.
    """
    # The unit separator keeps ("a", "bc") and ("ab", "c") apart.
    name = "\x1f".join(map(str, parts)).encode()
    return UUID(bytes=sha256(base.bytes + name).digest()[:16], version=4)


def run_id(project_id: UUID, log_path: str) -> UUID:
    """The run of a log that names none: a project's log at one path is one run."""
    return stable_id(project_id, "run", log_path)


def asset_id(project_id: UUID, rel_path: str) -> UUID:
    """The asset of a project at one path."""
    return stable_id(project_id, "asset", rel_path)
