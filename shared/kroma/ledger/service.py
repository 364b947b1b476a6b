"""A person's word about a call whose answer was lost."""

from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any, Final, NamedTuple
from uuid import UUID

from msgspec import UnsetType
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.audit import service as audit
from kroma.db.engine import Database
from kroma.db.ids import row_id
from kroma.errors import InvalidRequestError, NotOneOfError
from kroma.ledger import outcomes
from kroma.ledger.errors import CallNotUnknownError, ProviderCallNotFoundError
from kroma.ledger.models import CallStatus, ProviderCall
from kroma.ledger.outcomes import Answer, Verdict
from kroma.projects.models import Project
from kroma.projects.slugs import normalized_slug
from kroma.texts import required_text

_LARGEST_USD: Final = Decimal(10) ** 9
_STEP: Final = Decimal("0.000001")


class Resolution(StrEnum):
    """What may be said of an unknown call."""

    CHARGED = outcomes.CHARGED
    NOT_CHARGED = outcomes.NOT_CHARGED


class WrongCostError(InvalidRequestError):
    """A cost that is no amount of money, or belongs to no charge."""


class ResolvedCall(NamedTuple):
    """A call after a person's word, and the trail's record of it."""

    call: ProviderCall
    audit_id: UUID | None
    """None when the same had been said before."""


async def resolve_call(
    db: Database,
    *,
    slug: str | None,
    call_id: str,
    resolution: str | UnsetType,
    cost_usd: str | float | None,
    actor: UUID | None,
) -> ResolvedCall:
    """Settle or refuse a call whose answer was lost; saying the same again changes nothing.

    Args:
        slug: The project, as the path names it; None is a tool's call, which belongs to none.
        call_id: The call, as the path names it.
        resolution: ``charged`` or ``not_charged``.
        cost_usd: Of a charged one; None takes its price.

    Raises:
        FieldRequiredError: There is no resolution.
        NotOneOfError: There is no such resolution.
        WrongCostError: The cost is no amount, or the call was not charged.
        ProviderCallNotFoundError: The project or the call is unknown.
        CallNotUnknownError: The call's answer is known, or something else was said of it.
    """
    said = _resolution(required_text("resolution", resolution))
    cost = _cost(cost_usd)
    if cost is not None and said is Resolution.NOT_CHARGED:
        raise WrongCostError("Field 'cost_usd' is only allowed with resolution 'charged'")
    async with db.transaction() as session:
        call = await _lock(session, slug, call_id)
        if call.resolution == said and (cost is None or cost == call.cost_usd):
            return ResolvedCall(call, None)
        if call.status != CallStatus.UNKNOWN:
            raise CallNotUnknownError(call.status, call.resolution)
        verdict = Verdict(error=call.error, error_code=call.error_code, resolution=said, resolved_by=actor)
        if said is Resolution.CHARGED:
            await outcomes.settle(session, call.id, Answer(cost_usd=cost), verdict)
        else:
            await outcomes.refuse(session, call.id, verdict)
        await session.refresh(call)
        event = await audit.record(
            session,
            code="provider_call.resolve",
            project_id=call.project_id,
            actor=actor,
            payload=_payload(call),
        )
    return ResolvedCall(call, event.id)


def _payload(call: ProviderCall) -> dict[str, Any]:
    cost = None if call.cost_usd is None else str(call.cost_usd)
    return {"id": str(call.id), "resolution": call.resolution, "cost_usd": cost}


def _resolution(text: str) -> Resolution:
    try:
        return Resolution(text)
    except ValueError:
        raise NotOneOfError("resolution", tuple(Resolution)) from None


def _cost(value: str | float | None) -> Decimal | None:
    if value is None:
        return None
    try:
        cost = Decimal(str(value).strip())
    except InvalidOperation:
        cost = Decimal("NaN")
    if not cost.is_finite() or not 0 <= cost <= _LARGEST_USD:
        raise WrongCostError("Field 'cost_usd' must be an amount of at least 0, like 0.04")
    return cost.quantize(_STEP)


async def _lock(session: AsyncSession, slug: str | None, call_id: str) -> ProviderCall:
    wanted = select(ProviderCall).where(ProviderCall.id == row_id(call_id)).with_for_update(of=ProviderCall)
    if slug is None:
        wanted = wanted.where(ProviderCall.project_id.is_(None))
    else:
        wanted = wanted.join(Project, Project.id == ProviderCall.project_id)
        wanted = wanted.where(Project.slug == normalized_slug(slug))
    call = await session.scalar(wanted)
    if call is None:
        raise ProviderCallNotFoundError
    return call
