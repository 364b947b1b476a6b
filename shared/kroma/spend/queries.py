"""What was spent, and what is held for work under way.

The ledger of provider calls is what counts: its rows change in the transactions in which money moves.
An amount is in exactly one place at any moment: held by an open run, held by a call of it that is in
flight or whose answer was lost, or spent by a call that was settled. A call whose cost is not known
counts with its estimate.
"""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec
from sqlalchemy import Numeric, Select, and_, bindparam, func, literal, or_, select
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.audit.models import AuditEvent
from kroma.db.base import utc_now
from kroma.db.prepared import Prepared
from kroma.db.reader import Query, Reader
from kroma.ledger.models import IN_FLIGHT_CALL_STATUSES, CallStatus, ProviderCall
from kroma.projects.queries import get_project_id
from kroma.runs.models import OPEN_RUN_STATUSES, Run
from kroma.spend.errors import BudgetNotFoundError
from kroma.spend.models import BudgetPeriod, ProjectBudget

WARNING_EVENT: Final = "budget.warning"
_ZERO: Final = literal(Decimal(0), Numeric(18, 6))
_CHARGE: Final = func.coalesce(ProviderCall.cost_usd, ProviderCall.price_usd)
_SINCE: Final = bindparam("since", type_=TIMESTAMP(timezone=True))
_IS_SPENT: Final = and_(
    ProviderCall.status == CallStatus.SETTLED, or_(_SINCE.is_(None), ProviderCall.ended_at >= _SINCE)
)
# Not IN: statements that are compiled once have no lists of a length of their own.
_IS_HELD: Final = or_(
    *(ProviderCall.status == status for status in (*IN_FLIGHT_CALL_STATUSES, CallStatus.UNKNOWN))
)


class Spend(NamedTuple):
    """Money of a project or a run, in USD."""

    spent_usd: Decimal
    """Settled."""
    held_usd: Decimal
    """For open runs, calls in flight, and calls whose answer was lost until someone decides."""
    unknown_price_calls: int
    """Calls that are spent or held and whose cost nobody knows; they are in neither sum."""

    @property
    def committed_usd(self) -> Decimal:
        """What a budget counts."""
        return self.spent_usd + self.held_usd


class BudgetState(NamedTuple):
    """A budget and how much of it is gone."""

    budget: ProjectBudget
    since: datetime | None
    """When the period began; None is always."""
    spend: Spend

    @property
    def remaining_usd(self) -> Decimal:
        """What may still be confirmed; never below 0."""
        return max(self.budget.limit_usd - self.spend.committed_usd, Decimal(0))

    @property
    def levels_reached(self) -> list[float]:
        """The warning levels at or below the share of the limit that is spent or held."""
        committed, limit = self.spend.committed_usd, self.budget.limit_usd
        levels: list[float] = self.budget.warning_levels
        return [level for level in levels if committed > 0 and committed >= limit * Decimal(str(level))]


def period_start(period: str, now: datetime) -> datetime | None:
    """When the period that ``now`` falls in began, at midnight UTC; None for the one without end."""
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    match BudgetPeriod(period):
        case BudgetPeriod.DAY:
            return midnight
        case BudgetPeriod.MONTH:
            return midnight.replace(day=1)
        case BudgetPeriod.TOTAL:
            return None


def _sum_of_calls(*conditions: Any) -> Any:  # noqa: ANN401 - SQL expressions
    return func.coalesce(func.sum(_CHARGE).filter(*conditions), _ZERO)


def used_by_run(run_id: Any) -> Any:  # noqa: ANN401 - SQL expressions
    """What the calls of a run have taken of its estimate, spent or held."""
    return func.coalesce(
        select(func.sum(_CHARGE))
        .where(ProviderCall.run_id == run_id, ProviderCall.status != CallStatus.REFUSED)
        .scalar_subquery(),
        _ZERO,
    )


def _spend(of_calls: Any, of_runs: Any) -> Select[Any, Any, int]:  # noqa: ANN401 - SQL conditions
    """One row with the fields of `Spend`."""
    of_open_runs = (
        select(func.coalesce(func.sum(func.greatest(Run.estimated_usd - used_by_run(Run.id), _ZERO)), _ZERO))
        .where(of_runs, or_(*(Run.status == status for status in OPEN_RUN_STATUSES)), Run.estimated_usd > 0)
        .scalar_subquery()
    )
    return select(
        _sum_of_calls(_IS_SPENT).label("spent_usd"),
        (_sum_of_calls(_IS_HELD) + of_open_runs).label("held_usd"),
        func.count().filter(_CHARGE.is_(None), or_(_IS_SPENT, _IS_HELD)).label("unknown_price_calls"),
    ).where(of_calls)


_OF_PROJECT: Final = _spend(
    ProviderCall.project_id == bindparam("project_id"), Run.project_id == bindparam("project_id")
)
_OF_RUN: Final = _spend(ProviderCall.run_id == bindparam("run_id"), Run.id == bindparam("run_id"))
_PREPARED_OF_PROJECT: Final = Prepared(_OF_PROJECT)
_PREPARED_OF_RUN: Final = Prepared(_OF_RUN)
_BUDGET: Final = Query[ProjectBudget].where(
    ProjectBudget, ProjectBudget.project_id == bindparam("project_id")
)


async def project_spend(source: AsyncSession | Reader, project_id: UUID, *, since: datetime | None) -> Spend:
    """What a project has spent since then (None is ever), and what it holds now."""
    values = {"project_id": project_id, "since": since}
    if isinstance(source, Reader):
        (row,) = await source.records(_PREPARED_OF_PROJECT, **values)
        return Spend(*row)
    return Spend(*(await source.execute(_OF_PROJECT, values)).one())


async def run_spend(source: AsyncSession | Reader, run_id: UUID) -> Spend:
    """What a run has spent, and what it holds now."""
    values = {"run_id": run_id, "since": None}
    if isinstance(source, Reader):
        (row,) = await source.records(_PREPARED_OF_RUN, **values)
        return Spend(*row)
    return Spend(*(await source.execute(_OF_RUN, values)).one())


async def budget_state(session: AsyncSession, budget: ProjectBudget) -> BudgetState:
    """How much of a budget is gone; exact only while its row is locked."""
    since = period_start(budget.period, utc_now())
    return BudgetState(budget, since, await project_spend(session, budget.project_id, since=since))


async def get_budget(reader: Reader, slug: str) -> BudgetState:
    """A project's budget and how much of it is gone.

    Raises:
        ProjectNotFoundError: There is no such project.
        BudgetNotFoundError: It has no budget.
    """
    project_id = await get_project_id(reader, slug)
    budget = await _BUDGET.first(reader, project_id=project_id)
    if budget is None:
        raise BudgetNotFoundError
    known = ProjectBudget(
        project_id=project_id,
        limit_usd=budget.limit_usd,
        period=budget.period,
        # What a reader gives is the JSON itself.
        warning_levels=msgspec.json.decode(budget.warning_levels, type=list[float]),
        created_at=budget.created_at,
        updated_at=budget.updated_at,
    )
    since = period_start(known.period, utc_now())
    return BudgetState(known, since, await project_spend(reader, project_id, since=since))


async def lock_budget(session: AsyncSession, project_id: UUID) -> ProjectBudget | None:
    """The project's budget, if it has one, kept from every other decision until the transaction ends."""
    return await session.scalar(
        select(ProjectBudget)
        .where(ProjectBudget.project_id == project_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )


async def find_warning(session: AsyncSession, project_id: UUID, payload: dict[str, Any]) -> UUID | None:
    """The trail's record of a warning with this payload."""
    return await session.scalar(
        select(AuditEvent.id)
        .where(
            AuditEvent.project_id == project_id,
            AuditEvent.event_code == WARNING_EVENT,
            AuditEvent.payload_json.contains(payload),
        )
        .limit(1)
    )
