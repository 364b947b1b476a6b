"""How far a sync is, and what it came to."""

from collections.abc import Sequence
from typing import Final

import msgspec

from kroma.errors import KromaError

SHOWN_NAMES: Final = 1000
"""Names that a result lists of each kind; the numbers count all."""

_SHOWN_PROBLEMS: Final = 100


class Progress(msgspec.Struct, kw_only=True):
    """What has been done so far; written to the row now and then."""

    phase: str = ""
    """``looking``, ``comparing``, ``copying`` or ``deleting``."""
    files_total: int = 0
    files_done: int = 0
    bytes_total: int = 0
    bytes_done: int = 0

    def enter(self, phase: str, *, files: int = 0, size_bytes: int = 0) -> None:
        """Begin a phase with so much to do."""
        self.phase = phase
        self.files_total, self.bytes_total = files, size_bytes
        self.files_done = self.bytes_done = 0


class SyncResult(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The end of a sync, restore or verification; as ``result_json``."""

    skipped: bool = False
    reason: str = ""
    equal: int = 0
    """Files that were on both sides with the same bytes."""
    copied: int = 0
    """Files that were sent or fetched; of a dry run, that would be."""
    copied_bytes: int = 0
    deleted: int = 0
    """Objects that went, in earlier attempts too; of a dry run, that would go."""
    extra: int = 0
    """Objects without a file that were left, since nobody asked for their end."""
    parts_sent: int = 0
    """Of files that are sent in parts."""
    parts_kept: int = 0
    """Parts that an earlier attempt had sent."""
    missing: int = 0
    """Of a verification: files without an object."""
    different: int = 0
    """Of a verification, or a restore that keeps files: both are there, with other bytes."""
    left_out: int = 0
    """Files that could not be read, named, or kept changing."""
    copy_names: list[str] = []
    """The first names of what a dry run would copy; likewise the next."""
    delete_names: list[str] = []
    """Also of what went."""
    missing_names: list[str] = []
    different_names: list[str] = []
    extra_names: list[str] = []
    problems: list[str] = []
    """Why files were left out."""

    @property
    def is_same(self) -> bool:
        return not (self.missing or self.different or self.extra or self.left_out)

    def note_problems(self, problems: Sequence[KromaError]) -> None:
        """Say what was left out, and why."""
        self.left_out = len(problems)
        self.problems = [problem.message for problem in problems[:_SHOWN_PROBLEMS]]


def first_names(names: list[str]) -> list[str]:
    """As many as a result shows."""
    return names[:SHOWN_NAMES]
