"""The gates that every paid call passes: pause, circuit, pace and places, for all workers together.

There are two rows for a call: the gate of all projects and the gate of its own. Who passes holds
both locked, so that of two callers the second counts the first. Locks are taken in the order project,
job, run, gate of all, gate of the project, call; nothing that holds a gate waits for one before it.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID, uuid4

import msgspec
from sqlalchemy import ColumnElement, Select, and_, bindparam, case, func, null, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from kroma.config import ProviderLimits
from kroma.db.prepared import Prepared
from kroma.db.reader import Reader
from kroma.ledger.errors import (
    CallLaterError,
    CircuitOpenError,
    ProjectPausedError,
    ProviderBusyError,
    ProviderPausedError,
    RateLimitedError,
)
from kroma.ledger.models import CallStatus, ProviderCall, ProviderGate
from kroma.projects.models import Project
from kroma.provider_accounts.models import ProviderAccount
from kroma.providers.base import ProviderRefusedError
from kroma.runs.errors import RunCanceledError
from kroma.runs.models import JobStatus, Run, RunJob, RunStatus
from kroma.secrets.models import ProjectSecret

FAILURES_TO_OPEN: Final = 5
FIRST_OPEN: Final = timedelta(seconds=15)
LONGEST_OPEN: Final = timedelta(minutes=5)
PROBE: Final = timedelta(minutes=1)
"""For so long one call alone tries a provider that looked dead; if it says nothing, another may."""
LONGEST_CALL: Final = timedelta(minutes=1)
"""A call that nobody awaits any more holds its place no longer."""
LONGEST_NAP: Final = timedelta(seconds=15)
"""A job waits no longer for a circuit before it looks again: one answer closes it for all."""
_BATCH: Final = 200


class ProjectLimits(msgspec.Struct, frozen=True):
    """What ``config_json`` of a project's provider account may limit; other keys are not ours."""

    max_concurrency: int | None = None
    requests_per_minute: int | None = None

    @classmethod
    def of(cls, config: object) -> "ProjectLimits":
        """The limits of an account; what is no number of at least 1 limits nothing."""
        given: dict[str, Any] = {}
        if isinstance(config, dict):
            given = msgspec.convert(config, dict[str, Any])
        return cls(_limit(given.get("max_concurrency")), _limit(given.get("requests_per_minute")))


def _limit(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 1:
        return None
    return int(value)


class GateRow(NamedTuple):
    """One gate as it stands; all None where it has no row yet."""

    next_call_at: datetime | None = None
    retry_after: datetime | None = None
    failures: int | None = None
    open_until: datetime | None = None
    paused_at: datetime | None = None
    paused_reason: str | None = None


class GateState(NamedTuple):
    """What a claim sees before the gates."""

    now: datetime
    run_status: str
    project_paused_at: datetime | None
    project_paused_reason: str | None
    limits: ProjectLimits
    everyone: GateRow
    own: GateRow
    under_way: int
    """Calls of all projects that may be at the provider now."""
    own_under_way: int


class Permit(NamedTuple):
    """How a call got through."""

    sent_at: datetime
    is_probe: bool
    """The one call that tries a provider which looked dead."""


def _under_way(*conditions: ColumnElement[bool]) -> ColumnElement[int]:
    holder = aliased(RunJob)
    return (
        select(func.count())
        .select_from(ProviderCall)
        .outerjoin(holder, and_(holder.id == ProviderCall.job_id, holder.fence == ProviderCall.fence))
        .where(
            ProviderCall.status == CallStatus.SENT,
            ProviderCall.ended_at.is_(None),
            ProviderCall.provider_code == bindparam("provider"),
            or_(
                # A tool's call belongs to no job.
                and_(
                    ProviderCall.project_id.is_(None),
                    ProviderCall.sent_at > func.clock_timestamp() - LONGEST_CALL,
                ),
                # A lost worker's call holds no place; the reaper will say what became of it.
                and_(holder.status == JobStatus.RUNNING, holder.lease_expires_at > func.clock_timestamp()),
                # A canceled job's calls come to their end without it.
                and_(
                    holder.status == JobStatus.CANCELED,
                    ProviderCall.sent_at > func.clock_timestamp() - LONGEST_CALL,
                ),
            ),
            *conditions,
        )
        .scalar_subquery()
    )


def _gate_state_statement() -> Select[*tuple[Any, ...]]:
    everyone, own = aliased(ProviderGate), aliased(ProviderGate)
    named = [
        getattr(gate, column).label(f"{name}_{column}")
        for name, gate in (("everyone", everyone), ("own", own))
        for column in GateRow._fields
    ]
    return (
        select(
            func.clock_timestamp().label("now"),
            Run.status.label("run_status"),
            Project.paused_at.label("project_paused_at"),
            Project.paused_reason.label("project_paused_reason"),
            ProviderAccount.config_json,
            _under_way().label("under_way"),
            _under_way(ProviderCall.project_id == bindparam("project_id")).label("own_under_way"),
            *named,
        )
        .select_from(RunJob)
        .join(Run, Run.id == RunJob.run_id)
        .join(Project, Project.id == Run.project_id)
        .outerjoin(
            ProviderAccount,
            and_(
                ProviderAccount.project_id == Project.id,
                ProviderAccount.provider_code == bindparam("provider"),
            ),
        )
        .outerjoin(
            everyone, and_(everyone.provider_code == bindparam("provider"), everyone.project_id.is_(None))
        )
        .outerjoin(own, and_(own.provider_code == bindparam("provider"), own.project_id == Project.id))
        .where(
            RunJob.id == bindparam("job_id"),
            RunJob.fence == bindparam("fence"),
            RunJob.status == JobStatus.RUNNING,
            RunJob.lease_expires_at > func.clock_timestamp(),
        )
    )


GATE_STATE: Final = Prepared(_gate_state_statement())
"""One row while the claim holds, else none; takes ``provider``, ``project_id``, ``job_id``, ``fence``."""


def read_gate_state(row: Any) -> GateState:  # noqa: ANN401 - a row of asyncpg, which ships no types
    """A row of ``GATE_STATE``, read."""
    everyone, own = (
        GateRow(*(row[f"{name}_{column}"] for column in GateRow._fields)) for name in ("everyone", "own")
    )
    return GateState(
        now=row["now"],
        run_status=row["run_status"],
        project_paused_at=row["project_paused_at"],
        project_paused_reason=row["project_paused_reason"],
        limits=ProjectLimits.of(row["config_json"]),
        everyone=everyone,
        own=own,
        under_way=row["under_way"],
        own_under_way=row["own_under_way"],
    )


def blocking_reason(
    state: GateState, provider: str, limits: ProviderLimits, *, own_address: bool
) -> CallLaterError | None:
    """Why no call may be made now; None when one may.

    Args:
        state: What is known.
        provider: Its code.
        limits: For all projects together.
        own_address: Whether the project reaches the provider at an address of its own, whose failures
            say nothing of the provider of all others.

    Raises:
        RunCanceledError: The run is being canceled, or has ended.
    """
    if state.run_status not in {RunStatus.QUEUED, RunStatus.RUNNING}:
        raise RunCanceledError
    if state.project_paused_at is not None:
        return ProjectPausedError(state.project_paused_reason)
    for gate in (state.everyone, state.own):
        if gate.paused_at is not None:
            return ProviderPausedError(provider, gate.paused_reason)
    return _closed_for_a_while(state, provider, own_address=own_address) or _crowded(state, provider, limits)


def _closed_for_a_while(state: GateState, provider: str, *, own_address: bool) -> CallLaterError | None:
    circuit = state.own if own_address else state.everyone
    if circuit.open_until is not None and circuit.open_until > state.now:
        wait = min(circuit.open_until - state.now, LONGEST_NAP)
        return CircuitOpenError(provider, failures=circuit.failures or 0, wait=wait)
    asked = [gate.retry_after for gate in (state.everyone, state.own) if gate.retry_after is not None]
    if asked and max(asked) > state.now:
        return RateLimitedError(provider, wait=max(asked) - state.now)
    return None


def _crowded(state: GateState, provider: str, limits: ProviderLimits) -> CallLaterError | None:
    if state.under_way >= limits.concurrency:
        return ProviderBusyError(provider, limit=limits.concurrency)
    if state.limits.max_concurrency is not None and state.own_under_way >= state.limits.max_concurrency:
        return ProviderBusyError(provider, limit=state.limits.max_concurrency)
    due = [
        gate.next_call_at
        for gate, per_minute in (
            (state.everyone, limits.requests_per_minute),
            (state.own, state.limits.requests_per_minute),
        )
        if per_minute is not None and gate.next_call_at is not None
    ]
    if due and max(due) > state.now:
        return RateLimitedError(provider, wait=max(due) - state.now)
    return None


_LOCK: Final = Prepared(
    select(ProviderGate.id)
    .where(
        ProviderGate.provider_code == bindparam("provider"),
        or_(ProviderGate.project_id.is_(None), ProviderGate.project_id == bindparam("project_id")),
    )
    .order_by(ProviderGate.project_id.nulls_first())
    .with_for_update()
)


TOOL_GATE_STATE: Final = (
    select(
        func.clock_timestamp().label("now"),
        _under_way().label("under_way"),
        *(getattr(ProviderGate, column) for column in GateRow._fields),
    )
    .select_from(ProviderGate)
    .where(ProviderGate.provider_code == bindparam("provider"), ProviderGate.project_id.is_(None))
)
"""One row once a call was made, else none; takes ``provider``."""


async def see_for_tool(session: AsyncSession, provider: str) -> GateState:
    """What a call sees that belongs to no project, with the gate of all locked."""
    row = (await session.execute(TOOL_GATE_STATE, {"provider": provider})).one()
    return GateState(
        now=row.now,
        run_status=RunStatus.RUNNING,
        project_paused_at=None,
        project_paused_reason=None,
        limits=ProjectLimits(),
        everyone=GateRow(*(getattr(row, column) for column in GateRow._fields)),
        own=GateRow(),
        under_way=row.under_way,
        own_under_way=0,
    )


async def lock_gates(session: AsyncSession, reader: Reader, provider: str, project_id: UUID | None) -> None:
    """Keep both gates of a call to the caller's transaction; a first call makes their rows.

    Args:
        session: The transaction, which has begun.
        provider: The code.
        project_id: Whose call; None is a tool's, which passes the gate of all alone.
    """
    scopes = (None,) if project_id is None else (None, project_id)
    named = {"provider": provider, "project_id": project_id}
    if len(await reader.records(_LOCK, **named)) == len(scopes):
        return
    await session.execute(
        insert(ProviderGate)
        .values([{"id": uuid4(), "provider_code": provider, "project_id": scope} for scope in scopes])
        .on_conflict_do_nothing()
    )
    await reader.records(_LOCK, **named)


async def grant(
    session: AsyncSession,
    state: GateState,
    provider: str,
    project_id: UUID | None,
    limits: ProviderLimits,
    *,
    own_address: bool,
) -> Permit:
    """Let one call through locked gates: the next one keeps its distance, a probe keeps others out."""
    circuit = state.own if own_address else state.everyone
    is_probe = (circuit.failures or 0) >= FAILURES_TO_OPEN
    for scope, per_minute, holds_circuit in (
        (None, limits.requests_per_minute, not own_address),
        (project_id, state.limits.requests_per_minute, own_address),
    ):
        changes: dict[str, object] = {}
        if per_minute is not None:
            changes["next_call_at"] = state.now + timedelta(minutes=1) / per_minute
        if is_probe and holds_circuit:
            changes["open_until"] = state.now + PROBE
        if changes:
            await session.execute(_changing(provider, scope).values(**changes))
    return Permit(state.now, is_probe)


async def note_answer(
    session: AsyncSession, provider: str, project_id: UUID | None, *, own_address: bool
) -> bool:
    """The provider answered, whatever it said: close the circuit.

    Returns:
        Whether it was open.
    """
    before = await session.scalar(
        _changing(provider, project_id if own_address else None)
        .where(or_(ProviderGate.failures > 0, ProviderGate.open_until.is_not(None)))
        .values(failures=0, open_until=null())
        .returning(ProviderGate.id)
    )
    return before is not None


async def note_failure(
    session: AsyncSession, provider: str, project_id: UUID | None, *, own_address: bool, is_probe: bool
) -> bool:
    """The provider looked dead: count it, and open the circuit when it was once too often.

    Calls that were under way when it opened say nothing new; only the probe makes the next wait longer.

    Returns:
        Whether the circuit is open now because of this.
    """
    now, failures = func.clock_timestamp(), ProviderGate.failures + 1
    longer = FIRST_OPEN * func.power(2.0, func.least(failures - FAILURES_TO_OPEN, 16))
    counted = _changing(provider, project_id if own_address else None).values(
        failures=failures,
        open_until=case((failures >= FAILURES_TO_OPEN, now + func.least(longer, LONGEST_OPEN)), else_=null()),
    )
    if not is_probe:
        counted = counted.where(or_(ProviderGate.open_until.is_(None), ProviderGate.open_until <= now))
    return await session.scalar(counted.returning(ProviderGate.open_until)) is not None


async def note_retry_after(
    session: AsyncSession, provider: str, project_id: UUID, *, wait: timedelta
) -> None:
    """The provider asked this project to be left alone."""
    until = func.clock_timestamp() + wait
    await session.execute(
        _changing(provider, project_id).values(
            retry_after=func.greatest(func.coalesce(ProviderGate.retry_after, until), until)
        )
    )


async def pause_provider(
    session: AsyncSession,
    project_id: UUID,
    code: str,
    *,
    reason_code: str,
    reason: str,
    sent_at: datetime | None = None,
) -> bool:
    """Let a project's jobs of a provider stand still until ``resume_provider``.

    Args:
        code: The provider.
        reason_code: Like ``provider_key_refused``.
        reason: For people.
        sent_at: When the call left that says so; a key or account that was changed since is not
            paused for what the old one met.

    Returns:
        Whether it is paused because of this.
    """
    await session.execute(
        insert(ProviderGate)
        .values(id=uuid4(), provider_code=code, project_id=project_id)
        .on_conflict_do_nothing()
    )
    own = and_(ProviderGate.provider_code == code, ProviderGate.project_id == project_id)
    await session.execute(select(ProviderGate.id).where(own).with_for_update())
    if sent_at is not None and await _has_changed_since(session, project_id, code, sent_at):
        return False
    await session.execute(
        _changing(code, project_id).values(
            paused_at=func.clock_timestamp(), paused_code=reason_code, paused_reason=reason
        )
    )
    return True


async def pause_after(
    session: AsyncSession,
    project_id: UUID,
    code: str,
    refusal: ProviderRefusedError,
    *,
    sent_at: datetime,
) -> None:
    """`pause_provider` for what a call met that left at ``sent_at``."""
    await pause_provider(
        session, project_id, code, reason_code=refusal.code, reason=refusal.message, sent_at=sent_at
    )


async def _has_changed_since(session: AsyncSession, project_id: UUID, code: str, moment: datetime) -> bool:
    stamps = [
        select(row.updated_at)
        .where(row.project_id == project_id, row.provider_code == code, row.updated_at > moment)
        .exists()
        for row in (ProjectSecret, ProviderAccount)
    ]
    return bool(await session.scalar(select(or_(*stamps))))


async def resume_provider(session: AsyncSession, project_id: UUID, code: str) -> Sequence[UUID]:
    """Lift a project's pause of a provider, and forget what the provider met with the old access.

    Returns:
        Jobs that can be claimed now, oldest first, at most 200; the sweep finds the others.
    """
    # Held before the caller commits, so that a refusal of the old key sees the new one (`pause_provider`).
    # A provider that was never called has no row, and nothing to lift.
    own = and_(ProviderGate.provider_code == code, ProviderGate.project_id == project_id)
    if await session.scalar(select(ProviderGate.id).where(own).with_for_update()) is None:
        return ()
    lifted = await session.scalar(
        _changing(code, project_id)
        .where(
            or_(
                ProviderGate.paused_at.is_not(None),
                ProviderGate.failures > 0,
                ProviderGate.retry_after.is_not(None),
            )
        )
        .values(
            paused_at=null(),
            paused_code=null(),
            paused_reason=null(),
            failures=0,
            open_until=null(),
            retry_after=null(),
        )
        .returning(ProviderGate.id)
    )
    if lifted is None:
        return ()
    waiting = (
        select(RunJob.id)
        .join(Run, Run.id == RunJob.run_id)
        .where(
            Run.project_id == project_id,
            Run.provider_code == code,
            RunJob.status == JobStatus.QUEUED,
            RunJob.error_code == ProviderPausedError.code,
        )
        .order_by(RunJob.created_at)
        # A job that is being claimed just now needs nothing, and waiting for it could deadlock.
        .with_for_update(of=RunJob, skip_locked=True)
    )
    jobs = (await session.scalars(waiting)).all()
    if jobs:
        await session.execute(
            update(RunJob)
            .where(RunJob.id.in_(jobs))
            .values(available_at=null(), error=null(), error_kind=null(), error_code=null())
            .execution_options(synchronize_session=False)
        )
    return jobs[:_BATCH]


def provider_is_paused() -> ColumnElement[bool]:
    """Whether the run of the outer query waits for its provider to be resumed."""
    return (
        select(ProviderGate.id)
        .where(
            ProviderGate.provider_code == Run.provider_code,
            or_(ProviderGate.project_id.is_(None), ProviderGate.project_id == Run.project_id),
            ProviderGate.paused_at.is_not(None),
        )
        .correlate(Run)
        .exists()
    )


def _changing(provider: str, project_id: UUID | None) -> Any:  # noqa: ANN401 - an UPDATE that takes RETURNING
    scope = ProviderGate.project_id.is_(None) if project_id is None else ProviderGate.project_id == project_id
    return (
        update(ProviderGate)
        .where(ProviderGate.provider_code == provider, scope)
        .execution_options(synchronize_session=False)
    )
