"""The way to a provider: wait for the gates, enter the call, pass.

Everything up to the moment at which a request may leave, and what takes an entered call back when it
does not.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta
from decimal import Decimal
from time import monotonic
from typing import Final
from uuid import UUID, uuid4

import msgspec
import structlog
from sqlalchemy import bindparam, literal, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.db.connection_errors import DATABASE_TROUBLE
from kroma.db.engine import Database
from kroma.db.prepared import Prepared
from kroma.db.reader import Reader
from kroma.ledger import outcomes
from kroma.ledger import provider_limits as gates
from kroma.ledger.call_scheduler import CallScheduler
from kroma.ledger.errors import CallLaterError, ClaimGoneError, ProviderBusyError, named
from kroma.ledger.models import CallStatus, ProviderCall
from kroma.ledger.outcomes import NEVER_SENT, Verdict
from kroma.projects.models import Project
from kroma.providers.base import EditRequest, Provider
from kroma.runs.models import JobStatus, Run, RunJob

log = structlog.get_logger(__name__)

OPERATION: Final = "image_edit"
MAX_WAIT: Final = timedelta(seconds=10)
"""A job waits so long in its place; for more it is given back, since others may go on meanwhile."""
LOOK_EVERY: Final = timedelta(seconds=1)
"""A waiting call notices that its run was canceled within this."""
FIRST_PAUSE: Final = timedelta(milliseconds=30)
LONGEST_PAUSE: Final = timedelta(milliseconds=200)
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


class Claimed(msgspec.Struct, frozen=True, kw_only=True):
    """The claim under which calls are made."""

    project_id: UUID
    run_id: UUID
    job_id: UUID
    job_key: str
    fence: int


class AdmittedCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call past its gates; its request may leave."""

    id: UUID
    request: EditRequest
    price_usd: Decimal | None
    permit: gates.Permit
    earlier_lost: int
    """Calls of the candidate whose answers were lost."""

    @property
    def has_own_address(self) -> bool:
        """Whether it goes to the project's address and not to the provider's."""
        return _has_own_address(self.request)


class Admission:
    """Admits the calls of one claim."""

    def __init__(
        self,
        db: Database,
        scheduler: CallScheduler,
        provider: Provider,
        claim: Claimed,
        *,
        confirm: Callable[[AsyncSession], Awaitable[None]],
        operation: str = OPERATION,
    ) -> None:
        """Make what calls pass by.

        Args:
            scheduler: The worker's.
            provider: Whose calls cost money.
            confirm: Raises unless what the claim's run has entered may be spent; asked in the transaction
                after which a call leaves.
            operation: What the calls are for.
        """
        self._db = db
        self._scheduler = scheduler
        self._provider = provider
        self._claim = claim
        self._confirm = confirm
        self._operation = operation

    async def admit(
        self, request: EditRequest, *, number: int, earlier_lost: int, not_before: float
    ) -> AdmittedCall:
        """Wait for the gates, enter the call, pass.

        Args:
            number: Which call for its candidate it is.
            earlier_lost: Of those, how many were lost.
            not_before: On the monotonic clock.

        Raises:
            CallLaterError: It takes longer than a job waits in its place.
            RunCanceledError: The run is being canceled.
            ClaimGoneError: A newer claim holds the job.
        """
        until = max(monotonic(), not_before) + MAX_WAIT.total_seconds()
        call_id, price_usd = uuid4(), self._provider.estimate(request)
        queue_key = (self._provider.code, self._claim.project_id)
        async with self._scheduler.waiting(queue_key) as turn:
            while not turn.done():
                await asyncio.wait((turn,), timeout=LOOK_EVERY.total_seconds())
                if not turn.done():
                    self._give_up_at(until, await self.blocking_reason(request))
            pause = FIRST_PAUSE
            entered = False
            try:
                while True:
                    hindrance = await self.blocking_reason(request)
                    if hindrance is None and monotonic() >= not_before:
                        if not entered:
                            await self._enter(call_id, request, number, price_usd)
                            entered = True
                        permit = await self._pass(call_id, request)
                        if permit is not None:
                            return AdmittedCall(
                                id=call_id,
                                request=request,
                                price_usd=price_usd,
                                permit=permit,
                                earlier_lost=earlier_lost,
                            )
                    self._give_up_at(until, hindrance)
                    await self._scheduler.wait_until_freed(at_most=pause * random.uniform(0.5, 1))  # noqa: S311 - spreads load
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
            raise ProviderBusyError(self._provider.code, limit=self._scheduler.limits.concurrency)

    async def blocking_reason(self, request: EditRequest) -> CallLaterError | None:
        """What is in a call's way now.

        Raises:
            RunCanceledError: The run is being canceled.
            ClaimGoneError: A newer claim holds the job.
        """
        async with self._db.reading() as reader:
            state = await self._gate_state(reader)
        return self._judged(state, request)

    async def _gate_state(self, reader: Reader) -> gates.GateState:
        rows = await reader.records(
            gates.GATE_STATE,
            provider=self._provider.code,
            project_id=self._claim.project_id,
            job_id=self._claim.job_id,
            fence=self._claim.fence,
        )
        if not rows:
            raise ClaimGoneError
        return gates.read_gate_state(rows[0])

    def _judged(self, state: gates.GateState, request: EditRequest) -> CallLaterError | None:
        return gates.blocking_reason(
            state, self._provider.code, self._scheduler.limits, own_address=_has_own_address(request)
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
            "operation": self._operation,
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

    async def _pass(self, call_id: UUID, request: EditRequest) -> gates.Permit | None:
        """Through the gates in one transaction; the request may leave once it is committed."""
        provider, project_id = self._provider.code, self._claim.project_id
        own_address = _has_own_address(request)
        async with self._db.transaction() as session:
            await self._hold(session)
            raw = await (await session.connection()).get_raw_connection()
            reader = Reader(raw.driver_connection)
            await gates.lock_gates(session, reader, provider, project_id)
            # Only a statement that begins after the locks sees what others did before they let go.
            state = await self._gate_state(reader)
            if self._judged(state, request) is not None:
                return None
            await self._confirm(session)
            permit = await gates.grant(
                session, state, provider, project_id, self._scheduler.limits, own_address=own_address
            )
            sent = await reader.value(
                _SEND, call_id=call_id, call_fence=self._claim.fence, now=permit.sent_at
            )
            if sent is None:
                raise ClaimGoneError
        return permit

    async def _never_left(self, call_id: UUID, cause: BaseException) -> None:
        """End an entered call whose request certainly did not leave, even if its passage was committed."""
        verdict = Verdict(error=f"Never sent: {named(cause)}", error_code=NEVER_SENT)
        try:
            await outcomes.write_persistently(
                self._db,
                lambda session: outcomes.refuse(session, call_id, verdict),
                within=LOOK_EVERY,
            )
        except DATABASE_TROUBLE:
            log.warning("ledger.not_written", call_id=str(call_id), outcome=NEVER_SENT)


def _has_own_address(request: EditRequest) -> bool:
    return request.access.base_url is not None
