"""Taking an instruction to send it: a row lock to decide, a lease to hold, a fence to write.

As with jobs (``kroma.pipeline.execution.claim``), except that the lease is as long as an attempt may take and
is never renewed: a worker that dies costs that time.
"""

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec
from sqlalchemy import ColumnElement, and_, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.config import AgentOptions
from kroma.db.engine import Database
from kroma.instructions.models import AgentInstruction, InstructionStatus
from kroma.instructions.target import MISSING_URL, SecretReader, Target, find_target
from kroma.leases.claim import RELEASED, claimed
from kroma.leases.claim import is_due as is_available
from kroma.projects.models import AppUser, Project
from kroma.secrets.errors import SecretUnreadableError

MARGIN: Final = timedelta(seconds=30)
"""Beyond the longest attempt, for what is written before and after it."""
UNREADABLE_AGAIN_AFTER: Final = timedelta(seconds=30)
"""An address or token that does not open is looked at as often as this."""


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """The right to send an instruction once, and all that sending takes."""

    instruction_id: UUID
    project_slug: str
    instruction_text: str
    requested_by: str
    target: Target
    fence: int
    worker: str
    attempt: int
    """This attempt, from 1."""
    max_attempts: int
    deadline_at: datetime


def lease_span(options: AgentOptions) -> timedelta:
    """How long an instruction is held."""
    pauses = options.retry_pause * (options.retries * (options.retries + 1) // 2)
    return max(options.max_locked, options.timeout * (options.retries + 1) + pauses + MARGIN)


def may_try(options: AgentOptions) -> ColumnElement[bool]:
    """Whether attempts are left."""
    return AgentInstruction.attempt < func.greatest(AgentInstruction.max_attempts, options.max_attempts)


def lease_has_ended() -> ColumnElement[bool]:
    """Whether the worker that held the instruction is lost."""
    return and_(
        AgentInstruction.status == InstructionStatus.RUNNING,
        AgentInstruction.lease_expires_at < func.clock_timestamp(),
    )


def is_due(options: AgentOptions) -> ColumnElement[bool]:
    """Whether a worker may take the instruction now."""
    return or_(
        and_(
            AgentInstruction.status == InstructionStatus.CONFIRMED,
            is_available(AgentInstruction),
        ),
        and_(lease_has_ended(), may_try(options)),
    )


async def take_lease(
    db: Database, instruction_id: UUID, *, worker: str, options: AgentOptions, read_secret: SecretReader
) -> Lease | None:
    """Take an instruction to send it.

    Returns:
        None when it is not due, another worker holds it, or its project has no address to send it to.
    """
    async with db.transaction() as session:
        found = (
            await session.execute(
                select(AgentInstruction, Project.slug, AppUser.username, func.clock_timestamp())
                .join(Project, Project.id == AgentInstruction.project_id)
                .join(AppUser, AppUser.id == Project.owner_user_id)
                .where(AgentInstruction.id == instruction_id, is_due(options))
                .with_for_update(of=AgentInstruction, skip_locked=True)
            )
        ).one_or_none()
        if found is None:
            return None
        row, project_slug, username, now = found
        try:
            target = await find_target(session, row.project_id, options=options, read_secret=read_secret)
        except SecretUnreadableError as exc:
            await _put_off(session, row, error=exc.message, until=now + UNREADABLE_AGAIN_AFTER)
            return None
        if target is None:
            # Due as soon as there is one; until then the sweep passes it by.
            await _put_off(session, row, error=MISSING_URL, until=None)
            return None
        fence, attempt = row.fence + 1, row.attempt + 1
        max_attempts, deadline = max(row.max_attempts, options.max_attempts), now + options.deadline
        await session.execute(
            update(AgentInstruction)
            .where(AgentInstruction.id == row.id)
            .values(
                status=InstructionStatus.RUNNING,
                max_attempts=max_attempts,
                deadline_at=deadline,
                **claimed(AgentInstruction, worker=worker, lease=lease_span(options)),
            )
            .execution_options(synchronize_session=False)
        )
    return Lease(
        instruction_id=row.id,
        project_slug=project_slug,
        instruction_text=row.instruction_text,
        requested_by=username,
        target=target,
        fence=fence,
        worker=worker,
        attempt=attempt,
        max_attempts=max_attempts,
        deadline_at=deadline,
    )


async def _put_off(
    session: AsyncSession, row: AgentInstruction, *, error: str, until: datetime | None
) -> None:
    await session.execute(
        update(AgentInstruction)
        .where(AgentInstruction.id == row.id)
        .values(
            status=InstructionStatus.CONFIRMED,
            last_error=error,
            available_at=until,
            **RELEASED,
            updated_at=AgentInstruction.updated_at,  # nothing happened to it
        )
        .execution_options(synchronize_session=False)
    )
