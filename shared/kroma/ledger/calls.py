"""The one way to a call that costs money.

What is committed before what (docs/decisions/0015)::

    intent       committed: the call's id and price, under the job's fence
    sent         committed: the gates are passed and the fence still holds; only now the request leaves
    answer       the picture and a note of what was answered go to the store, under keys of this call alone
    settled      committed: cost, the provider's id of the call and its cost event
    step         committed under the job's fence, by the step that asked

A worker can end between any two of these. ``intent`` is a call that never left. ``sent`` with a note
in the store is an answer, taken from there. ``sent`` without one may have been charged: it becomes
``unknown`` and is never sent again by itself. What a call cost is written by its id, whether or not its
worker still holds the job; only the step is fenced.
"""

import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from time import monotonic
from typing import Final, TypeVar

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.ledger import outcomes
from kroma.ledger import provider_limits as gates
from kroma.ledger.admission import MAX_WAIT, OPERATION, Admission, Claimed
from kroma.ledger.answers import Answers, AnswerStore, StoredAnswer
from kroma.ledger.call_scheduler import CallScheduler
from kroma.ledger.errors import (
    AnswerNotKeptError,
    AnswerUnknownError,
    ProviderPausedError,
    RateLimitedError,
    RetriesSpentError,
)
from kroma.ledger.inquiry import ask_provider
from kroma.ledger.models import CallStatus, ProviderCall
from kroma.ledger.outcomes import NEVER_SENT, Verdict
from kroma.providers.base import (
    EditRequest,
    Provider,
    ProviderAccess,
    ProviderKeyRefusedError,
    ProviderRefusedError,
)

Kept = TypeVar("Kept")

LONGEST_RETRY: Final = timedelta(minutes=1)
_STALE: Final = "its worker was lost before it left"


class PaidCalls:
    """Makes the paid calls of one claim."""

    def __init__(
        self,
        db: Database,
        scheduler: CallScheduler,
        provider: Provider,
        claim: Claimed,
        *,
        find_access: Callable[[], Awaitable[ProviderAccess]],
        confirm: Callable[[AsyncSession], Awaitable[None]],
        operation: str = OPERATION,
    ) -> None:
        """Make what a step calls with.

        Args:
            scheduler: The worker's.
            provider: Whose calls cost money.
            find_access: The project's key and address as they are now; asked before every call.
            confirm: Raises unless what the claim's run has entered may be spent; asked in the transaction
                after which a call leaves.
            operation: What the calls are for: the candidate's other calls are no earlier ones of these.
        """
        self._db = db
        self._scheduler = scheduler
        self._provider = provider
        self._claim = claim
        self._find_access = find_access
        self._operation = operation
        self._admission = Admission(db, scheduler, provider, claim, confirm=confirm, operation=operation)
        self._answers = Answers(db, scheduler, provider, claim, self._admission)

    async def edit(self, request: EditRequest, answers: AnswerStore[Kept]) -> Kept:
        """One candidate's picture: what an earlier claim was answered, else a new call.

        Returns:
            What the answer store keeps of the response.

        Raises:
            CallLaterError: Not now; its ``not_before`` says when.
            RunCanceledError: The run is being canceled; no call was made.
            ClaimGoneError: A newer claim holds the job; no call was made.
            AnswerUnknownError: An answer was lost. It is not asked for again.
            AnswerUnusableError: Charged, and no picture.
            AnswerNotKeptError: Charged, and the picture is gone.
            InfraError: Charged, and the store could not take the picture.
            ProviderRefusedError: Refused for good, or as often as the budget allows.
        """
        of_candidate = await self._of_candidate(request.candidate_index)
        earlier = [
            call
            for call in of_candidate
            if call.operation == self._operation and call.provider_code == self._provider.code
        ]
        if earlier:
            stored = await self._resume(earlier[-1], answers)
            if stored is not None:
                return stored.kept
        return await self._ask(
            request, answers, earlier, number=of_candidate[-1].number if of_candidate else 0
        )

    async def _of_candidate(self, candidate_index: int) -> Sequence[ProviderCall]:
        """Every call for a candidate, in order, whatever it was for."""
        if self._claim.fence == 1 and self._operation == OPERATION:
            return ()  # the first claim ever: nobody can have called
        async with self._db.transaction() as session:
            return (
                await session.scalars(
                    select(ProviderCall)
                    .where(
                        ProviderCall.job_id == self._claim.job_id,
                        ProviderCall.candidate_index == candidate_index,
                    )
                    .order_by(ProviderCall.number)
                )
            ).all()

    async def _resume(self, call: ProviderCall, answers: AnswerStore[Kept]) -> StoredAnswer[Kept] | None:
        """Deal with the last call of an earlier claim; None leaves the way free for the next one."""
        match CallStatus(call.status):
            case CallStatus.REFUSED:
                return None
            case CallStatus.INTENT:
                verdict = Verdict(error=f"Never sent: {_STALE}", error_code=NEVER_SENT)
                await outcomes.write_persistently(
                    self._db, lambda session: outcomes.refuse(session, call.id, verdict)
                )
                return None
            case CallStatus.SETTLED:
                stored = await answers.find(call.id)
                if stored is None:
                    raise AnswerNotKeptError(self._provider.code, call.error)
                return stored
            case CallStatus.SENT | CallStatus.UNKNOWN:
                return await self._recover(call, answers)

    async def _recover(self, call: ProviderCall, answers: AnswerStore[Kept]) -> StoredAnswer[Kept] | None:
        """A call that left, and whose worker wrote nothing more: not sent again while nobody knows better."""
        stored = await answers.find(call.id)
        if stored is not None:
            answer = outcomes.believed(stored.answer)
            await outcomes.write_persistently(
                self._db, lambda session: outcomes.settle(session, call.id, answer)
            )
            return stored
        reason = "Its worker was lost before the answer was written"
        await outcomes.write_persistently(
            self._db, lambda session: outcomes.lose(session, call.id, reason=reason)
        )
        was_charged = await ask_provider(self._db, self._provider, call.id, self._find_access)
        if was_charged is None:
            raise AnswerUnknownError(self._provider.code, call.id)
        if was_charged:
            raise AnswerNotKeptError(self._provider.code)
        return None

    async def _ask(
        self,
        request: EditRequest,
        answers: AnswerStore[Kept],
        earlier: Sequence[ProviderCall],
        *,
        number: int,
    ) -> Kept:
        """Call until there is an answer, as often as the budget allows; ``number`` is the last call's."""
        earlier_lost = sum(_was_lost(call) for call in earlier)
        refusals = sum(_counts(call) for call in earlier)
        not_before = monotonic()
        while True:
            number += 1
            request = msgspec.structs.replace(request, access=await self._access())
            call = await self._admission.admit(
                request, number=number, earlier_lost=earlier_lost, not_before=not_before
            )
            try:
                return await self._answers.wait_for(call, answers)
            except ProviderKeyRefusedError as exc:
                # What the old key met says nothing of a key that was stored meanwhile: the gate knows.
                raise ProviderPausedError(self._provider.code, exc.message) from exc
            except ProviderRefusedError as exc:
                refusals += 1
                if not exc.retryable:
                    raise
                if refusals > self._scheduler.limits.retries:
                    raise RetriesSpentError(exc.message, calls=refusals) from exc
                wait = max(
                    _retry_pause(refusals, self._scheduler.first_retry), exc.retry_after or timedelta()
                )
                if wait > MAX_WAIT:
                    raise RateLimitedError(self._provider.code, wait=wait) from exc
                not_before = monotonic() + wait.total_seconds()

    async def _access(self) -> ProviderAccess:
        """The project's key and address; without them its calls stand still until a person has acted."""
        asked_at = utc_now()
        try:
            return await self._find_access()
        except ProviderRefusedError as exc:
            refusal = exc
        queue_key = (self._claim.project_id, self._provider.code)
        await outcomes.write_persistently(
            self._db, lambda session: gates.pause_after(session, *queue_key, refusal, sent_at=asked_at)
        )
        raise ProviderPausedError(self._provider.code, refusal.message) from refusal


def _counts(call: ProviderCall) -> bool:
    """Whether a call used up one of the candidate's further ones."""
    return call.status == CallStatus.REFUSED and call.error_code == ProviderRefusedError.code


def _was_lost(call: ProviderCall) -> bool:
    """Whether its worker may still come back with a picture; a call just found not to be charged, too."""
    return call.resolution is not None or call.status in {CallStatus.SENT, CallStatus.UNKNOWN}


def _retry_pause(refusals: int, first: timedelta) -> timedelta:
    ceiling = min(first * 2 ** min(refusals - 1, 16), LONGEST_RETRY)
    return ceiling * random.random()  # noqa: S311 - spreads load, keeps no secret
