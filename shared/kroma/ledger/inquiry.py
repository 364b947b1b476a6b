"""Asking a provider what became of a call whose answer was lost."""

from collections.abc import Awaitable, Callable
from uuid import UUID

import structlog

from kroma.db.engine import Database
from kroma.errors import ProviderError
from kroma.ledger import outcomes
from kroma.ledger.errors import AnswerNotKeptError
from kroma.ledger.outcomes import NOT_CHARGED, Answer, Verdict, believed
from kroma.providers.base import Provider, ProviderAccess

log = structlog.get_logger(__name__)


async def ask_provider(
    db: Database,
    provider: Provider,
    call_id: UUID,
    find_access: Callable[[], Awaitable[ProviderAccess]],
) -> bool | None:
    """What the provider says of a lost answer, written down if it knows.

    Returns:
        Whether it was charged; None when the provider cannot say, or cannot be asked now.
    """
    if not provider.capabilities.finds_calls:
        return None
    try:
        found = await provider.find_call(call_id, await find_access())
    except ProviderError as exc:
        log.warning("ledger.provider_not_asked", call_id=str(call_id), error=exc.message)
        return None
    if found is None:
        return None
    if found.was_charged:
        answer = believed(Answer(cost_usd=found.cost_usd, request_id=found.request_id))
        verdict = Verdict(
            error="The provider charged it; its answer was lost",
            error_code=AnswerNotKeptError.code,
            resolution=outcomes.CHARGED,
        )
        await outcomes.write_persistently(
            db, lambda session: outcomes.settle(session, call_id, answer, verdict)
        )
        return True
    verdict = Verdict(
        error="The provider did not carry it out", error_code="provider_refused", resolution=NOT_CHARGED
    )
    await outcomes.write_persistently(db, lambda session: outcomes.refuse(session, call_id, verdict))
    return False
