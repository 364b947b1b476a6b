"""What every lease has in common: how a row is claimed, held, written and given back.

A claim succeeds when the row is due and no live lease is on it. It raises the row's fence. **The fence
rule**: every later write names the fence and the worker of its claim (``held_by``), so a worker that slept
through its lease finds an older fence and changes nothing.

The expressions take values, or bind parameters for statements that are prepared once.
"""

from datetime import timedelta
from typing import Any, ClassVar, Final, Protocol
from uuid import UUID

import msgspec
from sqlalchemy import ColumnElement, func, null, or_

from kroma.leases.models import Leased

LEASE: Final = timedelta(seconds=30)  # docs/decisions/0006: a killed worker costs at most 45 s


class LeaseTable(msgspec.Struct, frozen=True, kw_only=True):
    """What the renewer must know of one kind of leased work."""

    name: str
    """The table; its rows are ``leased`` in the SQL below."""
    joins: str = ""
    """SQL that joins what ``stop`` looks at."""
    stop: str = "NULL"
    """An SQL expression: a value of ``kroma.leases.renewer.Stop`` where the work must stop, else NULL."""
    is_job: bool = False
    """Whether a worker's heartbeat counts it among its jobs."""


class Claim(Protocol):
    """The right to work on a row until the lease ends."""

    lease_table: ClassVar[LeaseTable]

    @property
    def row_id(self) -> UUID: ...

    @property
    def fence(self) -> int: ...

    @property
    def worker(self) -> str: ...


class ClaimLostError(Exception):
    """Another worker holds a newer claim, or the row has moved on; nothing was written."""


def lease_is_free(row: Any) -> ColumnElement[bool]:  # noqa: ANN401 - a record of an answer has a lease, too
    """Whether no live lease is on the row."""
    return or_(row.lease_expires_at.is_(None), row.lease_expires_at < func.clock_timestamp())


def is_due(row: type[Leased]) -> ColumnElement[bool]:
    """Whether the row may be worked on now."""
    return or_(row.available_at.is_(None), row.available_at <= func.clock_timestamp())


def claimed(row: type[Leased], *, worker: Any, lease: Any) -> dict[str, Any]:  # noqa: ANN401 - values or bind parameters
    """The columns of a row that ``worker`` has just claimed for the time ``lease``."""
    return {
        "fence": row.fence + 1,
        "attempt": row.attempt + 1,
        "lease_owner": worker,
        "lease_expires_at": func.clock_timestamp() + lease,
        "available_at": null(),
    }


def unchanged(row: Any, *, row_id: Any, fence: Any) -> tuple[ColumnElement[bool], ...]:  # noqa: ANN401 - values or bind parameters
    """Whether no newer claim exists, though the lease may have been given up: the fence half of the rule."""
    return row.id == row_id, row.fence == fence


def held_by(row: Any, *, row_id: Any, fence: Any, worker: Any) -> tuple[ColumnElement[bool], ...]:  # noqa: ANN401 - values or bind parameters
    """Whether a claim still holds its row: the condition of every write under a claim."""
    return *unchanged(row, row_id=row_id, fence=fence), row.lease_owner == worker


RELEASED: Final[dict[str, Any]] = {"lease_owner": null(), "lease_expires_at": null()}
"""The columns of a row that nobody holds any more."""
