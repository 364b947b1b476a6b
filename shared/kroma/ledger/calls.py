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

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from time import monotonic
from typing import Any, Final, Generic, Protocol, TypeVar
from uuid import UUID, uuid4

import msgspec
import structlog
from sqlalchemy import bindparam, cast, func, literal, select, update
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.db.lost import DATABASE_TROUBLE
from kroma.db.prepared import Prepared
from kroma.db.reader import Reader
from kroma.errors import KromaError, ProviderError
from kroma.ledger import gates, outcomes
from kroma.ledger.desk import CallDesk
from kroma.ledger.errors import (
    AnswerNotKeptError,
    AnswerUnknownError,
    CallLaterError,
    ClaimGoneError,
    ProjectPausedError,
    ProviderBusyError,
    ProviderPausedError,
    RateLimitedError,
    RetriesSpentError,
)
from kroma.ledger.models import CallStatus, ProviderCall
from kroma.ledger.outcomes import NEVER_SENT, NOT_CHARGED, Answer, Verdict
from kroma.projects.models import Project
from kroma.providers.base import (
    AnswerUnusableError,
    EditRequest,
    EditResult,
    Provider,
    ProviderAccess,
    ProviderKeyRefusedError,
    ProviderRefusedError,
)
from kroma.runs.errors import RunCancelledError
from kroma.runs.models import JobStatus, Run, RunJob

log = structlog.get_logger(__name__)

T = TypeVar("T")
Kept = TypeVar("Kept")

OPERATION: Final = "image_edit"
PATIENCE: Final = timedelta(seconds=10)
"""A job waits so long in its place; for more it is given back, since others may go on meanwhile."""
LOOK_EVERY: Final = timedelta(seconds=1)
"""A waiting call notices that its run was cancelled within this."""
FIRST_PAUSE: Final = timedelta(milliseconds=30)
LONGEST_PAUSE: Final = timedelta(milliseconds=200)
LONGEST_RETRY: Final = timedelta(minutes=1)
UNHURRIED: Final = timedelta(minutes=20)
"""For the answer of a call under way when its project is paused: longer than any provider takes."""
_HELD: Final = (
    select(RunJob.id)
    .join(Run, Run.id == RunJob.run_id)
    .join(Project, Project.id == Run.project_id)
    .where(
        RunJob.id == bindparam("job_id"),
        RunJob.fence == bindparam("fence"),
        RunJob.status == JobStatus.RUNNING,
    )
    # Locked in this order, in which others lock them, too.
    .with_for_update(read=True, of=[Project, RunJob, Run])
)
_ENTERED: Final = [
    ProviderCall.id,
    ProviderCall.project_id,
    ProviderCall.run_id,
    ProviderCall.job_id,
    ProviderCall.job_key,
    ProviderCall.candidate_index,
    ProviderCall.number,
    ProviderCall.fence,
    ProviderCall.provider_code,
    ProviderCall.model_name,
    ProviderCall.operation,
    ProviderCall.price_usd,
]
_ENTER: Final = Prepared(
    insert(ProviderCall)
    .from_select(
        [*(column.key for column in _ENTERED), "status"],
        _HELD.with_only_columns(
            *(bindparam(column.key, type_=column.type) for column in _ENTERED),
            literal(CallStatus.INTENT.value),
        ),
        include_defaults=False,
    )
    .returning(ProviderCall.id)
)
"""One row when the claim holds, else none."""
_SEND: Final = Prepared(
    update(ProviderCall)
    .where(
        ProviderCall.id == bindparam("call_id"),
        ProviderCall.status == CallStatus.INTENT,
        ProviderCall.fence == bindparam("call_fence"),
    )
    .values(status=CallStatus.SENT, sent_at=bindparam("now"))
    .returning(ProviderCall.id)
)
_STALE: Final = "its worker was lost before it left"


class Claimed(msgspec.Struct, frozen=True, kw_only=True):
    """The claim under which calls are made."""

    project_id: UUID
    run_id: UUID
    job_id: UUID
    job_key: str
    fence: int


class Shelved(msgspec.Struct, Generic[Kept], frozen=True, kw_only=True):
    """An answer that lies in the store."""

    answer: Answer
    kept: Kept


class Shelf(Protocol[Kept]):
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

    async def find(self, call_id: UUID) -> Shelved[Kept] | None:
        """What an earlier worker kept of this call; None when nothing of it can be used."""
        ...


class _Call(msgspec.Struct, frozen=True, kw_only=True):
    """A call past its gates."""

    id: UUID
    request: EditRequest
    price_usd: Decimal | None
    passage: gates.Passage
    earlier_lost: int


class PaidCalls:
    """Makes the paid calls of one claim."""

    def __init__(
        self,
        db: Database,
        desk: CallDesk,
        provider: Provider,
        claim: Claimed,
        *,
        find_access: Callable[[], Awaitable[ProviderAccess]],
        confirm: Callable[[AsyncSession], Awaitable[None]],
    ) -> None:
        """Make what a step calls with.

        Args:
            db: Where the ledger is.
            desk: The worker's.
            provider: Whose calls cost money.
            claim: Under which to call.
            find_access: The project's key and address as they are now; asked before every call.
            confirm: Raises unless what the claim's run has entered may be spent; asked in the transaction
                after which a call leaves.
        """
        self._db = db
        self._desk = desk
        self._provider = provider
        self._claim = claim
        self._find_access = find_access
        self._confirm = confirm

    async def edit(self, request: EditRequest, shelf: Shelf[Kept]) -> Kept:
        """One candidate's picture: what an earlier claim was answered, else a new call.

        Returns:
            What the shelf made of the answer.

        Raises:
            CallLaterError: Not now; its ``not_before`` says when.
            RunCancelledError: The run is being cancelled; no call was made.
            ClaimGoneError: A newer claim holds the job; no call was made.
            AnswerUnknownError: An answer was lost. It is not asked for again.
            AnswerUnusableError: Charged, and no picture.
            AnswerNotKeptError: Charged, and the picture is gone.
            InfraError: Charged, and the store could not take the picture.
            ProviderRefusedError: Refused for good, or as often as the budget allows.
        """
        earlier = await self._earlier(request.candidate_index)
        if earlier:
            shelved = await self._resumed(earlier[-1], shelf)
            if shelved is not None:
                return shelved.kept
        return await self._asked(request, shelf, earlier)

    async def _earlier(self, candidate_index: int) -> Sequence[ProviderCall]:
        if self._claim.fence == 1:
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

    async def _resumed(self, call: ProviderCall, shelf: Shelf[Kept]) -> Shelved[Kept] | None:
        """Deal with the last call of an earlier claim; None leaves the way free for the next one."""
        match CallStatus(call.status):
            case CallStatus.REFUSED:
                return None
            case CallStatus.INTENT:
                verdict = Verdict(error=f"Never sent: {_STALE}", error_code=NEVER_SENT)
                await self._write(lambda session: outcomes.refuse(session, call.id, verdict))
                return None
            case CallStatus.SETTLED:
                shelved = await shelf.find(call.id)
                if shelved is None:
                    raise AnswerNotKeptError(self._provider.code, call.error)
                return shelved
            case CallStatus.SENT | CallStatus.UNKNOWN:
                return await self._recovered(call, shelf)

    async def _recovered(self, call: ProviderCall, shelf: Shelf[Kept]) -> Shelved[Kept] | None:
        """A call that left, and whose worker wrote nothing more: not sent again while nobody knows better."""
        shelved = await shelf.find(call.id)
        if shelved is not None:
            await self._write(lambda session: outcomes.settle(session, call.id, shelved.answer))
            return shelved
        reason = "Its worker was lost before the answer was written"
        await self._write(lambda session: outcomes.lose(session, call.id, reason=reason))
        was_charged = await ask_provider(self._db, self._provider, call.id, self._find_access)
        if was_charged is None:
            raise AnswerUnknownError(self._provider.code, call.id)
        if was_charged:
            raise AnswerNotKeptError(self._provider.code)
        return None

    async def _asked(self, request: EditRequest, shelf: Shelf[Kept], earlier: Sequence[ProviderCall]) -> Kept:
        """Call until there is an answer, as often as the budget allows."""
        number = earlier[-1].number if earlier else 0
        earlier_lost = sum(_was_lost(call) for call in earlier)
        refusals = sum(_counts(call) for call in earlier)
        not_before = monotonic()
        while True:
            number += 1
            request = msgspec.structs.replace(request, access=await self._access())
            call = await self._admitted(request, number, earlier_lost, not_before)
            try:
                return await self._answered(call, shelf)
            except ProviderKeyRefusedError as exc:
                # What the old key met says nothing of a key that was stored meanwhile: the gate knows.
                raise ProviderPausedError(self._provider.code, exc.message) from exc
            except ProviderRefusedError as exc:
                refusals += 1
                if not exc.retryable:
                    raise
                if refusals > self._desk.limits.retries:
                    raise RetriesSpentError(exc.message, calls=refusals) from exc
                wait = max(_retry_pause(refusals, self._desk.first_retry), exc.retry_after or timedelta())
                if wait > PATIENCE:
                    raise RateLimitedError(self._provider.code, wait=wait) from exc
                not_before = monotonic() + wait.total_seconds()

    async def _access(self) -> ProviderAccess:
        """The project's key and address; without them its calls stand still until a person has acted."""
        asked_at = utc_now()
        try:
            return await self._find_access()
        except ProviderRefusedError as exc:
            refusal = exc
        await self._write(lambda session: self._pause(session, refusal, asked_at))
        raise ProviderPausedError(self._provider.code, refusal.message) from refusal

    async def _pause(self, session: AsyncSession, refusal: ProviderRefusedError, sent_at: datetime) -> None:
        await gates.pause_provider(
            session,
            self._claim.project_id,
            self._provider.code,
            reason_code=refusal.code,
            reason=refusal.message,
            sent_at=sent_at,
        )

    # The way to the provider.

    async def _admitted(
        self, request: EditRequest, number: int, earlier_lost: int, not_before: float
    ) -> _Call:
        """Wait for the gates, enter the call, pass.

        Raises:
            CallLaterError: It takes longer than a job waits in its place.
        """
        until = max(monotonic(), not_before) + PATIENCE.total_seconds()
        call_id, price_usd = uuid4(), self._provider.estimate(request)
        lane = (self._provider.code, self._claim.project_id)
        async with self._desk.waiting(lane) as turn:
            while not turn.done():
                await asyncio.wait((turn,), timeout=LOOK_EVERY.total_seconds())
                if not turn.done():
                    self._give_up_at(until, await self._obstacle(request))
            pause = FIRST_PAUSE
            entered = False
            try:
                while True:
                    hindrance = await self._obstacle(request)
                    if hindrance is None and monotonic() >= not_before:
                        if not entered:
                            await self._enter(call_id, request, number, price_usd)
                            entered = True
                        passage = await self._pass(call_id, request)
                        if passage is not None:
                            return _Call(
                                id=call_id,
                                request=request,
                                price_usd=price_usd,
                                passage=passage,
                                earlier_lost=earlier_lost,
                            )
                    self._give_up_at(until, hindrance)
                    await self._desk.freed(at_most=pause * random.uniform(0.5, 1))  # noqa: S311 - spreads load
                    pause = min(pause * 1.5, LONGEST_PAUSE)
            except BaseException as exc:
                if entered:
                    await asyncio.shield(self._never_left(call_id, exc))
                raise

    def _give_up_at(self, until: float, hindrance: CallLaterError | None) -> None:
        left = timedelta(seconds=until - monotonic())
        if hindrance is not None and (hindrance.wait > left or hindrance.is_of_no_use):
            raise hindrance
        if left < timedelta():
            raise ProviderBusyError(self._provider.code, limit=self._desk.limits.concurrency)

    async def _obstacle(self, request: EditRequest) -> CallLaterError | None:
        async with self._db.reading() as reader:
            sight = await self._sight(reader)
        return self._judged(sight, request)

    async def _sight(self, reader: Reader) -> gates.Sight:
        rows = await reader.records(
            gates.SIGHT,
            provider=self._provider.code,
            project_id=self._claim.project_id,
            job_id=self._claim.job_id,
            fence=self._claim.fence,
        )
        if not rows:
            raise ClaimGoneError
        return gates.seen(rows[0])

    def _judged(self, sight: gates.Sight, request: EditRequest) -> CallLaterError | None:
        return gates.obstacle(
            sight, self._provider.code, self._desk.limits, own_address=_has_own_address(request)
        )

    async def _enter(
        self, call_id: UUID, request: EditRequest, number: int, price_usd: Decimal | None
    ) -> None:
        """Commit what is about to be bought; under the job's fence, so that only its holder can."""
        values: dict[str, object] = {
            "id": call_id,
            "project_id": self._claim.project_id,
            "run_id": self._claim.run_id,
            "job_id": self._claim.job_id,
            "job_key": self._claim.job_key,
            "candidate_index": request.candidate_index,
            "number": number,
            "fence": self._claim.fence,
            "provider_code": self._provider.code,
            "model_name": request.model or "",
            "operation": OPERATION,
            "price_usd": price_usd,
        }
        if not await self._db.fetch(_ENTER, values):
            raise ClaimGoneError

    async def _hold(self, session: AsyncSession) -> None:
        """Keep the job with this claim, its run and its project as they are, until the transaction ends."""
        values = {"job_id": self._claim.job_id, "fence": self._claim.fence}
        held = await session.scalar(_HELD, values)
        if held is None:
            raise ClaimGoneError

    async def _pass(self, call_id: UUID, request: EditRequest) -> gates.Passage | None:
        """Through the gates in one transaction; the request may leave once it is committed."""
        provider, project_id = self._provider.code, self._claim.project_id
        own_address = _has_own_address(request)
        async with self._db.transaction() as session:
            await self._hold(session)
            raw = await (await session.connection()).get_raw_connection()
            reader = Reader(raw.driver_connection)
            await gates.lock_gates(session, reader, provider, project_id)
            # Only a statement that begins after the locks sees what others did before they let go.
            sight = await self._sight(reader)
            if self._judged(sight, request) is not None:
                return None
            await self._confirm(session)
            passage = await gates.mark_passed(
                session, sight, provider, project_id, self._desk.limits, own_address=own_address
            )
            sent = await reader.value(
                _SEND, call_id=call_id, call_fence=self._claim.fence, now=passage.sent_at
            )
            if sent is None:
                raise ClaimGoneError
        return passage

    async def _never_left(self, call_id: UUID, cause: BaseException) -> None:
        """End an entered call whose request certainly did not leave, even if its passage was committed."""
        verdict = Verdict(error=f"Never sent: {_named(cause)}", error_code=NEVER_SENT)
        try:
            await outcomes.written(
                self._db,
                lambda session: outcomes.refuse(session, call_id, verdict),
                within=LOOK_EVERY,
            )
        except DATABASE_TROUBLE:
            log.warning("ledger.not_written", call_id=str(call_id), outcome=NEVER_SENT)

    # The answer.

    async def _answered(self, call: _Call, shelf: Shelf[Kept]) -> Kept:
        """Carry a call in a task that a cancellation of the job does not touch: it is being paid for."""
        task = self._desk.start(self._carried(call, shelf))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.done():
                self._desk.left.add(call.id)
                await _ended_within(task, await self._grace(call))
            raise

    async def _grace(self, call: _Call) -> timedelta | None:
        """How long a job that must stop waits for an answer that is being paid for.

        None is not at all: a cancelled run's call, or a lost claim's, ends on its own.
        """
        try:
            hindrance = await self._obstacle(call.request)
        except (RunCancelledError, ClaimGoneError):
            return None
        except Exception as exc:  # noqa: BLE001 - a database that is away, in whatever form
            log.warning("ledger.not_asked", call_id=str(call.id), error=type(exc).__name__)
            return self._desk.answer_grace
        is_pause = isinstance(hindrance, ProjectPausedError)
        return UNHURRIED if is_pause else self._desk.answer_grace

    async def _carried(self, call: _Call, shelf: Shelf[Kept]) -> Kept:
        request = msgspec.structs.replace(call.request, call_id=call.id)
        try:
            result = await self._provider.edit(request)
        except BaseException as exc:
            await _to_the_end(self._note_no_picture(call, exc))
            if isinstance(exc, ProviderRefusedError | AnswerUnusableError) or not isinstance(exc, Exception):
                raise
            raise AnswerUnknownError(self._provider.code, call.id) from exc
        return await _to_the_end(self._shelve(call, result, shelf))

    async def _note_no_picture(self, call: _Call, cause: BaseException) -> None:
        match cause:
            case ProviderRefusedError():
                await self._note_refusal(call, cause)
            case AnswerUnusableError():
                cause.call_id = call.id
                cause.cost_usd = call.price_usd if cause.cost_usd is None else cause.cost_usd
                answer = Answer(model=cause.model, cost_usd=cause.cost_usd, request_id=cause.request_id)
                await self._settle(call, answer, Verdict(error=cause.message, error_code=cause.code))
            case _:
                # Whatever it was, nobody can say that the provider did not get the request.
                await self._note_loss(call, cause)

    async def _shelve(self, call: _Call, result: EditResult, shelf: Shelf[Kept]) -> Kept:
        """Keep the answer, then settle: a worker that ends in between leaves a picture that can be found."""
        cost_usd = call.price_usd if result.cost_usd is None else result.cost_usd
        result = msgspec.structs.replace(result, cost_usd=cost_usd)
        answer = Answer(
            model=result.model, cost_usd=cost_usd, request_id=result.request_id, usage=result.usage
        )
        place = self._desk.start(self._leave_place(call))
        try:
            kept = await shelf.keep(call.id, result, earlier_lost=call.earlier_lost)
        except Exception as exc:
            await asyncio.wait((place,))
            reason = f"It was charged, but its picture could not be kept: {_named(exc)}"
            await self._settle(call, answer, Verdict(error=reason, error_code=AnswerNotKeptError.code))
            raise
        await asyncio.wait((place,))
        await self._settle(call, answer)
        return kept

    async def _leave_place(self, call: _Call) -> None:
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

    async def _settle(self, call: _Call, answer: Answer, verdict: Verdict = outcomes.FINE) -> None:
        async def write(session: AsyncSession) -> tuple[bool, bool]:
            moved = await outcomes.settle(session, call.id, answer, verdict)
            return moved, await self._note_answer(session, call)

        moved, closed = await self._write(write)
        if not moved:
            log.error("ledger.answer_came_too_late", call_id=str(call.id))
        if closed:
            await self._say("provider_circuit_closed", f"Provider '{self._provider.code}' answers again")

    async def _note_answer(self, session: AsyncSession, call: _Call) -> bool:
        return await gates.note_answer(
            session,
            self._provider.code,
            self._claim.project_id,
            own_address=_has_own_address(call.request),
        )

    async def _note_refusal(self, call: _Call, refusal: ProviderRefusedError) -> None:
        provider, project_id = self._provider.code, self._claim.project_id

        async def write(session: AsyncSession) -> bool:
            verdict = Verdict(error=refusal.message, error_code=refusal.code)
            await outcomes.refuse(session, call.id, verdict)
            if refusal.retry_after is not None:
                await gates.note_retry_after(session, provider, project_id, wait=refusal.retry_after)
            if isinstance(refusal, ProviderKeyRefusedError):
                await self._pause(session, refusal, call.passage.sent_at)
            if refusal.is_down:
                return await self._note_failure(session, call)
            await self._note_answer(session, call)
            return False

        if await self._write(write):
            await self._say_open(refusal)

    async def _note_loss(self, call: _Call, cause: BaseException) -> None:
        reason = f"No answer: {_named(cause)}"

        async def write(session: AsyncSession) -> bool:
            await outcomes.lose(session, call.id, reason=reason)
            # A stopping worker's own doing says nothing of the provider.
            return isinstance(cause, Exception) and await self._note_failure(session, call)

        if await self._write(write):
            await self._say_open(cause)

    async def _note_failure(self, session: AsyncSession, call: _Call) -> bool:
        return await gates.note_failure(
            session,
            self._provider.code,
            self._claim.project_id,
            own_address=_has_own_address(call.request),
            is_probe=call.passage.is_probe,
        )

    async def _say_open(self, cause: BaseException) -> None:
        reason = _named(cause)
        text = f"Provider '{self._provider.code}' does not answer and is left alone for a while: {reason}"
        await self._say("provider_circuit_open", text)

    async def _say(self, code: str, text: str) -> None:
        """Tell the run's watchers; in a transaction of its own, since it waits for the run's row."""
        data = cast(literal({"code": code, "message": text}, JSONB), JSONB)
        event = select(func.kroma_run_event(self._claim.run_id, "notice", data))
        await self._write(lambda session: session.execute(event))

    async def _write(self, write: Callable[[AsyncSession], Awaitable[T]]) -> T:
        return await outcomes.written(self._db, write)


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
        answer = Answer(cost_usd=found.cost_usd, request_id=found.request_id)
        verdict = Verdict(
            error="The provider charged it; its answer was lost",
            error_code=AnswerNotKeptError.code,
            resolution=outcomes.CHARGED,
        )
        await outcomes.written(db, lambda session: outcomes.settle(session, call_id, answer, verdict))
        return True
    verdict = Verdict(
        error="The provider did not carry it out", error_code="provider_refused", resolution=NOT_CHARGED
    )
    await outcomes.written(db, lambda session: outcomes.refuse(session, call_id, verdict))
    return False


def _named(error: BaseException) -> str:
    """An error as people may read it: what is not ours is only named."""
    return error.message if isinstance(error, KromaError) else type(error).__name__


def _has_own_address(request: EditRequest) -> bool:
    return request.access.base_url is not None


def _counts(call: ProviderCall) -> bool:
    """Whether a call used up one of the candidate's further ones."""
    return call.status == CallStatus.REFUSED and call.error_code == ProviderRefusedError.code


def _was_lost(call: ProviderCall) -> bool:
    """Whether its worker may still come back with a picture; a call just found not to be charged, too."""
    return call.resolution is not None or call.status in {CallStatus.SENT, CallStatus.UNKNOWN}


def _retry_pause(refusals: int, first: timedelta) -> timedelta:
    ceiling = min(first * 2 ** min(refusals - 1, 16), LONGEST_RETRY)
    return ceiling * random.random()  # noqa: S311 - spreads load, keeps no secret


async def _ended_within(task: asyncio.Task[Any], grace: timedelta | None) -> None:
    """Give a call the grace, then have its answer written off; a second cancellation ends the grace."""
    if grace is None:
        return
    try:
        await asyncio.wait((task,), timeout=grace.total_seconds())
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait((task,))


async def _to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Carry a piece of work to its end, and only then be cancelled."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError as exc:
            cancelled = exc
    if cancelled is not None:
        if not task.cancelled():
            task.exception()
        raise cancelled
    return task.result()
