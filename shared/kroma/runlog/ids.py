"""Ids that are the same on every ingest, for rows whose log has none."""

from hashlib import sha256
from uuid import UUID


def stable_id(base: UUID, *parts: str | int) -> UUID:
    """An id that depends only on ``base`` and ``parts``, in the form of a version 4 UUID.

    Args:
        base: The parent's id: the project of a run or asset, the run of everything in it.
        parts: Unique among the parent's children, like ``"report", "style_1_harbor", 2``.
    """
    # The unit separator keeps ("a", "bc") and ("ab", "c") apart.
    name = "\x1f".join(map(str, parts)).encode()
    return UUID(bytes=sha256(base.bytes + name).digest()[:16], version=4)


def run_id(project_id: UUID, log_path: str) -> UUID:
    """The run id of a log without one: each log path of a project is one run."""
    return stable_id(project_id, "run", log_path)


def asset_id(project_id: UUID, rel_path: str) -> UUID:
    """The id of a project's asset without one."""
    return stable_id(project_id, "asset", rel_path)
