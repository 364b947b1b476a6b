"""What became of a call, written by its id: no fence, no lease and no cancellation keeps a money fact out."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final, TypeVar
from uuid import UUID

import msgspec
import structlog
from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.costs.models import CostEvent
from kroma.db.connection_errors import is_database_lost
from kroma.db.engine import Database
from kroma.ledger.models import CallStatus, ProviderCall
from kroma.retries import retry
from kroma.runlog.ids import stable_id
from kroma.runs.events import write_event

log = structlog.get_logger(__name__)

T = TypeVar("T")

COST_OPERATION: Final = "image_generation"
"""What a cost event of a generated picture says was paid for, in the table and in run logs."""
CUTOUT_OPERATION: Final = "background_removal"
REFINE_OPERATION: Final = "background_refine"
TOOL_OPERATIONS: Final = {"bg_remove": CUTOUT_OPERATION, "bg_refine_openai": REFINE_OPERATION}
"""What the ledger and the cost events call a paid step of post-processing."""
UNKNOWN_COST: Final = "provider_cost_unknown"
DEAREST_USD: Final = Decimal(100)
"""What any provider is believed of one call; one with a list of prices less, by its own module."""
NEVER_SENT: Final = "never_sent"
CHARGED: Final = "charged"
NOT_CHARGED: Final = "not_charged"
PERSISTENCE: Final = timedelta(minutes=2)
"""How long an outcome is offered to a database that is away; what is left then is the reaper's."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider said of a call that it charged."""

    model: str = ""
    """Empty keeps the model that was asked for."""
    cost_usd: Decimal | None = None
    """None takes the price; an unknown price stays unknown."""
    cost_doubt: str | None = None
    """Why what the provider reported is not believed: the cost is unknown, and the price counts as spent."""
    request_id: str | None = None
    usage: dict[str, Any] = {}


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Why a call ended as it did."""

    error: str | None = None
    error_code: str | None = None
    resolution: str | None = None
    """``charged`` or ``not_charged``, of a call whose answer was lost."""
    resolved_by: UUID | None = None
    """The person who said so; None is the provider, or the store."""


FINE: Final = Verdict()


def cost_event_id(call_id: UUID) -> UUID:
    """The cost event of a call: one, wherever it is written first."""
    return stable_id(call_id, "cost")


async def settle(session: AsyncSession, call_id: UUID, answer: Answer, verdict: Verdict = FINE) -> bool:
    """The call was charged: write what it cost, once.

    Returns:
        Whether it moved; False when it was settled before, or written off.
    """
    values: dict[str, Any] = {
        "status": CallStatus.SETTLED,
        "cost_usd": ProviderCall.price_usd if answer.cost_usd is None else answer.cost_usd,
        "usage_json": answer.usage,
        **_ended(verdict),
    }
    if answer.cost_doubt is not None:
        values["cost_usd"] = None
        if verdict.error is None:
            values |= {"error": f"Unknown cost: {answer.cost_doubt}", "error_code": UNKNOWN_COST}
        log.warning("ledger.cost_not_believed", call_id=str(call_id), reason=answer.cost_doubt)
    if answer.model:
        values["model_name"] = answer.model
    if answer.request_id is not None:
        values["request_id"] = answer.request_id
    moved = await _move(session, call_id, (CallStatus.SENT, CallStatus.UNKNOWN), values)
    if not moved:
        return False
    now_is = select(ProviderCall).where(ProviderCall.id == call_id)
    call = (await session.scalars(now_is, execution_options={"populate_existing": True})).one()
    if call.project_id is None:
        return True  # a tool's call: it is in no project's list of costs, and says itself what it cost
    cost = call.cost_usd
    meta: dict[str, Any] = {
        "provider_call_id": str(call.id),
        "operation": call.operation,
        "candidate_index": call.candidate_index,
        "provider_request_id": call.request_id,
        "usage": call.usage_json,
    }
    if cost is None:
        meta["price"] = "unknown"  # the column holds 0, and this says that it was not for free
    if answer.cost_doubt is not None:
        meta["cost_doubt"] = answer.cost_doubt
    await session.execute(
        insert(CostEvent)
        .values(
            id=cost_event_id(call.id),
            project_id=call.project_id,
            run_id=call.run_id,
            job_id=call.job_key,
            provider_code=call.provider_code,
            model_name=call.model_name,
            event_type=call.operation if call.operation in TOOL_OPERATIONS.values() else COST_OPERATION,
            units=1,
            unit_cost_usd=cost or 0,
            total_cost_usd=cost or 0,
            meta_json=meta,
        )
        .on_conflict_do_nothing()
    )
    return True


def believed(answer: Answer) -> Answer:
    """An answer without a cost that no call has.

    Every report passes here: of an answer, of a provider that is asked later, and of a note in a store that
    others may write to. What a person says of a call does not.
    """
    cost = answer.cost_usd
    if answer.cost_doubt is not None:
        return msgspec.structs.replace(answer, cost_usd=None)
    if cost is None or (cost.is_finite() and 0 <= cost <= DEAREST_USD):
        return answer
    shown = f"{cost:.6g} USD" if cost.is_finite() else "no amount"
    doubt = f"the provider reported {shown}, and no call costs less than nothing or more than {DEAREST_USD}"
    return msgspec.structs.replace(answer, cost_usd=None, cost_doubt=doubt)


async def refuse(session: AsyncSession, call_id: UUID, verdict: Verdict) -> bool:
    """The call was certainly not carried out.

    Returns:
        Whether it moved; False when something else is known of it already.
    """
    from_statuses = (CallStatus.INTENT, CallStatus.SENT, CallStatus.UNKNOWN)
    values: dict[str, Any] = {"status": CallStatus.REFUSED, **_ended(verdict)}
    return await _move(session, call_id, from_statuses, values)


async def lose(session: AsyncSession, call_id: UUID, *, reason: str) -> bool:
    """The answer of a sent call will not come any more; nobody knows whether it was charged.

    Returns:
        Whether it moved.
    """
    verdict = Verdict(error=reason, error_code="provider_answer_lost")
    return await _move(
        session, call_id, (CallStatus.SENT,), {"status": CallStatus.UNKNOWN, **_ended(verdict)}
    )


def _ended(verdict: Verdict) -> dict[str, Any]:
    now = func.clock_timestamp()
    values: dict[str, Any] = {"ended_at": now, "error": verdict.error, "error_code": verdict.error_code}
    if verdict.resolution is not None:
        values |= {
            "resolution": verdict.resolution,
            "resolved_at": now,
            "resolved_by": verdict.resolved_by,
        }
    return values


async def _move(
    session: AsyncSession, call_id: UUID, from_statuses: tuple[CallStatus, ...], values: dict[str, Any]
) -> bool:
    moved = await session.execute(
        update(ProviderCall)
        .where(ProviderCall.id == call_id, ProviderCall.status.in_(from_statuses))
        .values(**values)
        .returning(ProviderCall.run_id)
        .execution_options(synchronize_session=False)
    )
    run_ids = moved.scalars().all()
    for run_id in run_ids:
        if run_id is not None and "resolution" in values:
            await _tell_watchers(session, run_id, call_id, values["resolution"])
    return bool(run_ids)


async def _tell_watchers(session: AsyncSession, run_id: UUID, call_id: UUID, resolution: str) -> None:
    text = f"A paid call with a lost response was resolved: {resolution}"
    notice = {"code": "provider_call_resolved", "message": text, "call_id": str(call_id)}
    await write_event(session, run_id, "notice", notice | {"resolution": resolution})


async def write_persistently(
    db: Database, write: Callable[[AsyncSession], Awaitable[T]], *, within: timedelta = PERSISTENCE
) -> T:
    """Write in one transaction, again and again while the database is away.

    Raises:
        sqlalchemy.exc.DBAPIError: It was away for longer than ``within``, or refuses.
        OSError: The same, before a connection stood.
    """

    @retry(on=_is_away, attempts=None, timeout=within, wait_jitter=0.1)
    async def write_once() -> T:
        async with db.transaction() as session:
            return await write(session)

    return await write_once()


def _is_away(error: Exception) -> bool:
    # Classes of SQLSTATE: connection, rollback (deadlock), resources, operator intervention.
    state = getattr(getattr(error, "orig", error), "sqlstate", None) or ""
    passes = isinstance(error, OSError) or is_database_lost(error) or state[:2] in {"08", "40", "53", "57"}
    if passes:
        log.warning("ledger.database_away", error=type(error).__name__)
    return passes
