"""What comes back from a provider, and what the ledger makes of it.

Carried in a task that no cancellation of the job touches: it is being paid for.
"""

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final, Generic, Protocol, TypeVar
from uuid import UUID

import msgspec
import structlog
from sqlalchemy import func, update
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.db.connection_errors import DATABASE_TROUBLE
from kroma.db.engine import Database
from kroma.ledger import outcomes
from kroma.ledger import provider_limits as gates
from kroma.ledger.admission import Admission, AdmittedCall, Claimed
from kroma.ledger.call_scheduler import CallScheduler
from kroma.ledger.errors import (
    AnswerNotKeptError,
    AnswerUnknownError,
    ClaimGoneError,
    ProjectPausedError,
    named,
)
from kroma.ledger.models import CallStatus, ProviderCall
from kroma.ledger.outcomes import Answer, Verdict
from kroma.metrics import PROVIDER_COST, CallWatch
from kroma.providers.base import (
    AnswerUnusableError,
    EditResult,
    Provider,
    ProviderKeyRefusedError,
    ProviderRefusedError,
)
from kroma.runs.errors import RunCanceledError
from kroma.runs.events import write_event

log = structlog.get_logger(__name__)

T = TypeVar("T")
Kept = TypeVar("Kept")

UNHURRIED: Final = timedelta(minutes=20)
"""For the answer of a call under way when its project is paused: longer than any provider takes."""


class StoredAnswer(msgspec.Struct, Generic[Kept], frozen=True, kw_only=True):
    """An answer that lies in the store."""

    answer: Answer
    kept: Kept


class AnswerStore(Protocol[Kept]):
    """Where the answers of one candidate's calls are kept, under keys that no other call writes."""

    async def keep(self, call_id: UUID, result: EditResult, *, earlier_lost: int) -> Kept:
        """Store a picture and the note of what was answered.

        Args:
            call_id: Names the note.
            result: The answer; one that is no picture is kept as such, without an error.
            earlier_lost: Calls of the candidate whose answers were lost: their pictures may still come,
                so this one's must not share their key.

        Raises:
            InfraError: The store cannot take it.
        """
        ...

    async def find(self, call_id: UUID) -> StoredAnswer[Kept] | None:
        """What an earlier worker kept of this call; None when nothing of it can be used."""
        ...


class Answers:
    """Sends the admitted calls of one claim and writes down what becomes of them."""

    def __init__(
        self, db: Database, scheduler: CallScheduler, provider: Provider, claim: Claimed, admission: Admission
    ) -> None:
        """Make what calls are answered by.

        Args:
            scheduler: The worker's.
            provider: Whose calls cost money.
            admission: Says whether a job that must stop may wait for an answer.
        """
        self._db = db
        self._scheduler = scheduler
        self._provider = provider
        self._claim = claim
        self._admission = admission

    async def wait_for(self, call: AdmittedCall, answers: AnswerStore[Kept]) -> Kept:
        """Send a call, and keep and settle its answer; a canceled caller leaves it to go on by itself.

        Raises:
            AnswerUnknownError: The answer was lost.
            AnswerUnusableError: Charged, and no picture.
            InfraError: Charged, and the store could not take the picture.
            ProviderRefusedError: A clean refusal.
        """
        task = self._scheduler.start(self._carry(call, answers))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.done():
                self._scheduler.left.add(call.id)
                await _wait_for_end(task, await self._grace(call))
            raise

    async def _grace(self, call: AdmittedCall) -> timedelta | None:
        """How long a job that must stop waits for an answer that is being paid for.

        None is not at all: a canceled run's call, or a lost claim's, ends on its own.
        """
        try:
            hindrance = await self._admission.blocking_reason(call.request)
        except (RunCanceledError, ClaimGoneError):
            return None
        except Exception as exc:  # noqa: BLE001 - a database that is away, in whatever form
            log.warning("ledger.not_asked", call_id=str(call.id), error=type(exc).__name__)
            return self._scheduler.answer_grace
        is_pause = isinstance(hindrance, ProjectPausedError)
        return UNHURRIED if is_pause else self._scheduler.answer_grace

    async def _carry(self, call: AdmittedCall, answers: AnswerStore[Kept]) -> Kept:
        request = msgspec.structs.replace(call.request, call_id=call.id)
        called = CallWatch(self._provider.code, request.model)
        try:
            result = await self._provider.edit(request)
        except BaseException as exc:
            called.ended(_outcome(exc))
            await to_the_end(self._note_no_picture(call, exc))
            if isinstance(exc, ProviderRefusedError | AnswerUnusableError) or not isinstance(exc, Exception):
                raise
            raise AnswerUnknownError(self._provider.code, call.id) from exc
        called.ended("answered")
        return await to_the_end(self._store_answer(call, result, answers))

    async def _note_no_picture(self, call: AdmittedCall, cause: BaseException) -> None:
        match cause:
            case ProviderRefusedError():
                await self._note_refusal(call, cause)
            case AnswerUnusableError():
                answer = charge_of(cause, call.price_usd)
                cause.call_id, cause.cost_usd = call.id, answer.cost_usd
                await self._settle(call, answer, Verdict(error=cause.message, error_code=cause.code))
            case _:
                # Whatever it was, nobody can say that the provider did not get the request.
                await self._note_loss(call, cause)

    async def _store_answer(self, call: AdmittedCall, result: EditResult, answers: AnswerStore[Kept]) -> Kept:
        """Keep the answer, then settle: a worker that ends in between leaves a picture that can be found."""
        answer = charge_of(result, call.price_usd)
        result = msgspec.structs.replace(result, cost_usd=answer.cost_usd, cost_doubt=answer.cost_doubt)
        position = self._scheduler.start(self._free_slot(call))
        try:
            kept = await answers.keep(call.id, result, earlier_lost=call.earlier_lost)
        except Exception as exc:
            await asyncio.wait((position,))
            reason = f"It was charged, but its picture could not be kept: {named(exc)}"
            await self._settle(call, answer, Verdict(error=reason, error_code=AnswerNotKeptError.code))
            raise
        await asyncio.wait((position,))
        await self._settle(call, answer)
        return kept

    async def _free_slot(self, call: AdmittedCall) -> None:
        """While the picture is being kept, the provider is free for another call."""
        answered = (
            update(ProviderCall)
            .where(ProviderCall.id == call.id, ProviderCall.status == CallStatus.SENT)
            .values(ended_at=func.clock_timestamp())
            .execution_options(synchronize_session=False)
        )
        try:
            async with self._db.transaction() as session:
                await session.execute(answered)
        except DATABASE_TROUBLE:
            log.warning("ledger.place_not_left", call_id=str(call.id))

    async def _settle(self, call: AdmittedCall, answer: Answer, verdict: Verdict = outcomes.FINE) -> None:
        async def write(session: AsyncSession) -> tuple[bool, bool]:
            moved = await outcomes.settle(session, call.id, answer, verdict)
            return moved, await self._note_answer(session, call)

        moved, closed = await outcomes.write_persistently(self._db, write)
        if not moved:
            log.error("ledger.answer_came_too_late", call_id=str(call.id))
        elif answer.cost_usd is not None:
            PROVIDER_COST.labels(self._provider.code, call.request.model or "").inc(float(answer.cost_usd))
        if moved and answer.cost_doubt is not None:
            await self._say(
                outcomes.UNKNOWN_COST,
                f"Unknown cost of call {call.id}: {answer.cost_doubt}; its estimate counts as spent",
            )
        if closed:
            await self._say("provider_circuit_closed", f"Provider '{self._provider.code}' answers again")

    async def _note_answer(self, session: AsyncSession, call: AdmittedCall) -> bool:
        return await gates.note_answer(
            session,
            self._provider.code,
            self._claim.project_id,
            own_address=call.has_own_address,
        )

    async def _note_refusal(self, call: AdmittedCall, refusal: ProviderRefusedError) -> None:
        provider, project_id = self._provider.code, self._claim.project_id

        async def write(session: AsyncSession) -> bool:
            verdict = Verdict(error=refusal.message, error_code=refusal.code)
            await outcomes.refuse(session, call.id, verdict)
            if refusal.retry_after is not None:
                await gates.note_retry_after(session, provider, project_id, wait=refusal.retry_after)
            if isinstance(refusal, ProviderKeyRefusedError):
                await gates.pause_after(session, project_id, provider, refusal, sent_at=call.permit.sent_at)
            if refusal.is_down:
                return await self._note_failure(session, call)
            await self._note_answer(session, call)
            return False

        if await outcomes.write_persistently(self._db, write):
            await self._say_open(refusal)

    async def _note_loss(self, call: AdmittedCall, cause: BaseException) -> None:
        reason = f"No answer: {named(cause)}"

        async def write(session: AsyncSession) -> bool:
            await outcomes.lose(session, call.id, reason=reason)
            # A stopping worker's own doing says nothing of the provider.
            return isinstance(cause, Exception) and await self._note_failure(session, call)

        if await outcomes.write_persistently(self._db, write):
            await self._say_open(cause)

    async def _note_failure(self, session: AsyncSession, call: AdmittedCall) -> bool:
        return await gates.note_failure(
            session,
            self._provider.code,
            self._claim.project_id,
            own_address=call.has_own_address,
            is_probe=call.permit.is_probe,
        )

    async def _say_open(self, cause: BaseException) -> None:
        reason = named(cause)
        text = f"Provider '{self._provider.code}' does not respond and is not called for a while: {reason}"
        await self._say("provider_circuit_open", text)

    async def _say(self, code: str, text: str) -> None:
        """Tell the run's watchers; in a transaction of its own, since it waits for the run's row."""
        notice = {"code": code, "message": text}
        await outcomes.write_persistently(
            self._db, lambda session: write_event(session, self._claim.run_id, "notice", notice)
        )


def charge_of(reported: EditResult | AnswerUnusableError, price_usd: Decimal | None) -> Answer:
    """What a provider charged by its answer: as it says, unless no call costs that, else the price."""
    answer = outcomes.believed(
        Answer(
            model=reported.model,
            cost_usd=reported.cost_usd,
            cost_doubt=reported.cost_doubt,
            request_id=reported.request_id,
            usage=reported.usage if isinstance(reported, EditResult) else {},
        )
    )
    if answer.cost_usd is None and answer.cost_doubt is None:
        return msgspec.structs.replace(answer, cost_usd=price_usd)
    return answer


def _outcome(error: BaseException) -> str:
    match error:
        case ProviderRefusedError():
            return "refused"
        case AnswerUnusableError():
            return "unusable"
        case _:
            return "unknown"


async def _wait_for_end(task: asyncio.Task[Any], grace: timedelta | None) -> None:
    """Give a call the grace, then have its answer written off; a second cancellation ends the grace."""
    if grace is None:
        return
    try:
        await asyncio.wait((task,), timeout=grace.total_seconds())
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait((task,))


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Carry a piece of work to its end, and only then be canceled."""
    task = asyncio.ensure_future(work)
    canceled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError as exc:
            canceled = exc
    if canceled is not None:
        if not task.cancelled():
            task.exception()
        raise canceled
    return task.result()
