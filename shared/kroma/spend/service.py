"""Budgets: setting them, and confirming spending against them."""

from decimal import Decimal, InvalidOperation
from typing import Final, NamedTuple, Self
from uuid import UUID

import msgspec
from msgspec import UnsetType
from sqlalchemy import Boolean, bindparam, cast, delete, exists, not_, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.audit import service as audit
from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.db.prepared import Prepared
from kroma.errors import FieldRequiredError, NotOneOfError
from kroma.projects.models import Project
from kroma.projects.queries import get_project
from kroma.runs.models import Run
from kroma.runs.service import insert_run, insertion, insertion_values
from kroma.spend.errors import (
    BudgetExceededError,
    BudgetNotFoundError,
    InvalidLimitError,
    InvalidWarningLevelsError,
    UnknownPriceError,
)
from kroma.spend.models import BudgetPeriod, ProjectBudget
from kroma.spend.queries import (
    WARNING_EVENT,
    BudgetState,
    budget_state,
    find_warning,
    lock_budget,
    used_by_run,
)
from kroma.texts import required_text

DEFAULT_WARNING_LEVELS: Final = (0.5, 0.8)
MAX_LIMIT_USD: Final = Decimal(999_999_999)
MAX_WARNING_LEVELS: Final = 10
_FINEST_USD: Final = Decimal("0.000001")


class BudgetDraft(msgspec.Struct, frozen=True, kw_only=True):
    """A budget to set, every rule passed."""

    limit_usd: Decimal
    period: BudgetPeriod
    warning_levels: tuple[float, ...]

    @classmethod
    def checked(
        cls,
        *,
        limit_usd: float | UnsetType,
        period: str | UnsetType | None,
        warning_levels: list[float] | None,
    ) -> Self:
        """Check and default.

        Raises:
            FieldRequiredError: ``limit_usd`` or ``period`` is missing.
            InvalidLimitError: The limit is out of range or too fine.
            NotOneOfError: The period is none.
            InvalidWarningLevelsError: A level is no share.
        """
        if isinstance(limit_usd, UnsetType):
            raise FieldRequiredError("limit_usd")
        name = required_text("period", period).lower()
        if name not in set(BudgetPeriod):
            raise NotOneOfError("period", tuple(BudgetPeriod))
        levels = DEFAULT_WARNING_LEVELS if warning_levels is None else sorted(set(warning_levels))
        if len(levels) > MAX_WARNING_LEVELS or not all(0 < level <= 1 for level in levels):
            raise InvalidWarningLevelsError
        return cls(
            limit_usd=_checked_limit(limit_usd), period=BudgetPeriod(name), warning_levels=tuple(levels)
        )


class ChangedBudget(NamedTuple):
    """A budget after a change, and the trail's record of it."""

    state: BudgetState
    audit_id: UUID


def _checked_limit(limit: float) -> Decimal:
    try:
        exact = Decimal(str(limit))
        kept = exact.quantize(_FINEST_USD)
    except InvalidOperation:
        raise InvalidLimitError from None
    if kept != exact or not 0 <= exact <= MAX_LIMIT_USD:
        raise InvalidLimitError
    return kept


async def set_budget(
    db: Database,
    *,
    slug: str,
    limit_usd: float | UnsetType,
    period: str | UnsetType | None,
    warning_levels: list[float] | None,
    actor: UUID | None,
) -> ChangedBudget:
    """Set a project's budget; what was spent in the period before counts.

    Raises:
        ProjectNotFoundError: There is no such project.
        FieldRequiredError: ``limit_usd`` or ``period`` is missing.
        InvalidLimitError: The limit is out of range or too fine.
        NotOneOfError: The period is none.
        InvalidWarningLevelsError: A level is no share.
    """
    async with db.transaction() as session:
        project = await get_project(session, slug)
        draft = BudgetDraft.checked(limit_usd=limit_usd, period=period, warning_levels=warning_levels)
        values = {
            "limit_usd": draft.limit_usd,
            "period": draft.period,
            "warning_levels": list(draft.warning_levels),
            "updated_at": utc_now(),
        }
        await session.execute(
            insert(ProjectBudget)
            .values(project_id=project.id, **values)
            .on_conflict_do_update(index_elements=[ProjectBudget.project_id], set_=values)
        )
        budget = await _lock(session, project)
        event = await audit.record(
            session,
            code="budget.upsert",
            project_id=project.id,
            actor=actor,
            payload={
                "limit_usd": str(draft.limit_usd),
                "period": draft.period,
                "warning_levels": list(draft.warning_levels),
            },
        )
        state = await budget_state(session, budget)
        await _warn(session, state, actor=actor)
    return ChangedBudget(state, event.id)


async def delete_budget(db: Database, *, slug: str, actor: UUID | None) -> UUID:
    """Remove a project's budget; the id of the trail's record.

    Raises:
        ProjectNotFoundError: There is no such project.
        BudgetNotFoundError: It has no budget.
    """
    async with db.transaction() as session:
        project = await get_project(session, slug)
        await _lock(session, project)
        await session.execute(delete(ProjectBudget).where(ProjectBudget.project_id == project.id))
        event = await audit.record(
            session, code="budget.delete", project_id=project.id, actor=actor, payload={}
        )
    return event.id


_UNLESS_BUDGETED: Final = Prepared(
    insertion(
        only_if=or_(
            cast(bindparam("is_free"), Boolean),
            not_(exists().where(ProjectBudget.project_id == bindparam("run_project_id"))),
        )
    )
)


_OWN: Final = select(Run.estimated_usd, used_by_run(Run.id).label("used_usd")).where(
    Run.id == bindparam("run_id")
)


async def confirm_run(db: Database, run: Run, *, actor: UUID | None) -> None:
    """Insert a run with its jobs if the project's budget, where it has one, holds what it may cost.

    Without a budget this is one statement, and a person waits for it: not through the unit of work. The
    statement itself sees that there is no budget. One that is set at the same moment counts the run, as
    if the run had been confirmed just before.

    Raises:
        BudgetExceededError: It does not.
        UnknownPriceError: There is a budget, and the run's cost is not known.
    """
    values = insertion_values(run) | {"is_free": run.estimated_usd == 0}
    ((made,),) = await db.fetch(_UNLESS_BUDGETED, values)
    if not made:
        async with db.transaction() as session:
            await confirm_run_in(session, run, actor=actor)


async def confirm_run_in(session: AsyncSession, run: Run, *, actor: UUID | None) -> None:
    """`confirm_run` within the caller's transaction.

    The budget's row is locked until the caller's transaction ends, so that of many confirmations at
    once no two count on the same money.

    Raises:
        BudgetExceededError: It does not.
        UnknownPriceError: There is a budget, and the run's cost is not known.
    """
    budget = None if run.estimated_usd == 0 else await lock_budget(session, run.project_id)
    if budget is None:
        await insert_run(session, run)
        return
    if run.estimated_usd is None:
        raise UnknownPriceError(run.provider_code or "", run.model_name or "")
    before = await budget_state(session, budget)
    if before.spend.committed_usd + run.estimated_usd > budget.limit_usd:
        raise BudgetExceededError(
            limit_usd=budget.limit_usd,
            period=budget.period,
            spent_usd=before.spend.spent_usd,
            held_usd=before.spend.held_usd,
            needed_usd=run.estimated_usd,
        )
    await insert_run(session, run)
    held_usd = before.spend.held_usd + run.estimated_usd
    await _warn(session, before._replace(spend=before.spend._replace(held_usd=held_usd)), actor=actor)


async def confirm_call(session: AsyncSession, *, project_id: UUID, run_id: UUID) -> None:
    """Let a call leave that is already entered in the ledger, unless it would pass the budget.

    What a run was confirmed for is its own. Only what goes beyond it (a call dearer than its estimate, a
    picture to reuse that has gone) has to fit what the budget still holds.

    Raises:
        BudgetExceededError: It does not.
    """
    own = (await session.execute(_OWN, {"run_id": run_id})).one()
    if own.estimated_usd is None or own.used_usd <= own.estimated_usd:
        return
    budget = await lock_budget(session, project_id)
    if budget is None:
        return
    spend = (await budget_state(session, budget)).spend
    if spend.committed_usd > budget.limit_usd:
        beyond_usd = own.used_usd - own.estimated_usd
        raise BudgetExceededError(
            limit_usd=budget.limit_usd,
            period=budget.period,
            spent_usd=spend.spent_usd,
            held_usd=spend.held_usd - beyond_usd,
            needed_usd=beyond_usd,
        )


async def note_warnings(db: Database, project_id: UUID) -> None:
    """Record the levels that spending has crossed since it was confirmed; calls may cost more."""
    async with db.transaction() as session:
        budget = await lock_budget(session, project_id)
        if budget is not None:
            await _warn(session, await budget_state(session, budget), actor=None)


async def _lock(session: AsyncSession, project: Project) -> ProjectBudget:
    budget = await lock_budget(session, project.id)
    if budget is None:
        raise BudgetNotFoundError
    return budget


async def _warn(session: AsyncSession, state: BudgetState, *, actor: UUID | None) -> None:
    """Write to the trail, once per budget, period and level; the budget's row is locked."""
    for level in state.levels_reached:
        what = {
            "level": level,
            "limit_usd": str(state.budget.limit_usd),
            "period": state.budget.period,
            "since": None if state.since is None else state.since.date().isoformat(),
        }
        if await find_warning(session, state.budget.project_id, what) is None:
            amounts = {"spent_usd": str(state.spend.spent_usd), "held_usd": str(state.spend.held_usd)}
            await audit.record(
                session,
                code=WARNING_EVENT,
                project_id=state.budget.project_id,
                actor=actor,
                payload=what | amounts,
            )
