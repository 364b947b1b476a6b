"""Calls that nobody will end any more: what is left of lost workers, and asking what became of them."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from time import monotonic
from typing import Final, NamedTuple
from uuid import UUID

import structlog
from sqlalchemy import ColumnElement, Update, and_, func, or_, select, update

from kroma.db.engine import Database
from kroma.errors import KromaError
from kroma.ledger import outcomes
from kroma.ledger.inquiry import ask_provider
from kroma.ledger.models import CallStatus, ProviderCall
from kroma.ledger.outcomes import CHARGED, NEVER_SENT, Answer, Verdict
from kroma.providers.base import Provider, ProviderAccess
from kroma.runs.models import JobStatus, RunJob

log = structlog.get_logger(__name__)

LEASE_GRACE: Final = timedelta(seconds=15)
"""After a lease ended: another worker mostly takes the job over at once, and looks after its calls itself."""
CALL_GRACE: Final = timedelta(minutes=1)
"""After a call left whose job has ended or moved on: its worker may still be waiting for the answer."""
BATCH: Final = 200
FIRST_ASK: Final = timedelta(seconds=30)
LONGEST_ASK: Final = timedelta(hours=1)

FindAnswer = Callable[[UUID, UUID], Awaitable[Answer | None]]
"""What the store holds of an answer, by run and call."""
FindAccess = Callable[[Provider, UUID], Awaitable[ProviderAccess]]
"""A project's way to a provider."""


class Reaped(NamedTuple):
    """What a reaping ended."""

    never_sent: int
    unknown: int


async def reap_calls(
    db: Database, *, lease_grace: timedelta = LEASE_GRACE, call_grace: timedelta = CALL_GRACE
) -> Reaped:
    """End the calls whose claim is gone: those that never left are refused, the others unknown."""
    now = func.clock_timestamp()
    holder = and_(RunJob.id == ProviderCall.job_id, RunJob.fence == ProviderCall.fence)
    is_held = select(RunJob.id).where(holder, RunJob.status == JobStatus.RUNNING)
    is_leased = is_held.where(RunJob.lease_expires_at > now - lease_grace)
    is_expired = is_held.where(RunJob.lease_expires_at <= now - lease_grace)
    async with db.transaction() as session:
        never_sent = await session.execute(
            _ending(ProviderCall.status == CallStatus.INTENT, ~is_leased.exists())
            .values(
                status=CallStatus.REFUSED,
                ended_at=now,
                error="Never sent: its worker was lost before it left",
                error_code=NEVER_SENT,
            )
            .returning(ProviderCall.id)
        )
        unknown = await session.execute(
            _ending(
                ProviderCall.status == CallStatus.SENT,
                or_(
                    is_expired.exists(),
                    and_(~is_held.exists(), ProviderCall.sent_at < now - call_grace),
                ),
            )
            .values(
                status=CallStatus.UNKNOWN,
                ended_at=now,
                error="Its worker was lost before the answer was written",
                error_code="provider_answer_lost",
            )
            .returning(ProviderCall.id)
        )
        return Reaped(len(never_sent.all()), len(unknown.all()))


def _ending(*conditions: ColumnElement[bool]) -> Update:
    left = (
        select(ProviderCall.id)
        .where(*conditions)
        .limit(BATCH)
        # A call that is being written just now ends without us.
        .with_for_update(skip_locked=True, key_share=True)
    )
    return (
        update(ProviderCall)
        .where(ProviderCall.id.in_(left.scalar_subquery()))
        .execution_options(synchronize_session=False)
    )


class Reconciler:
    """Asks the store and the provider what became of unknown calls, each less often the longer it is unknown.

    When it last asked is kept in memory alone: a new worker asks at once, which costs nothing.
    """

    def __init__(
        self,
        db: Database,
        providers: Mapping[str, Provider],
        *,
        find_answer: FindAnswer,
        find_access: FindAccess,
    ) -> None:
        """Make what the sweep asks with.

        Args:
            find_answer: Looks into the store.
            find_access: Looks up keys and addresses.
        """
        self._db = db
        self._providers = providers
        self._find_answer = find_answer
        self._find_access = find_access
        self._due: dict[UUID, tuple[float, timedelta]] = {}

    async def reconcile(self) -> int:
        """Ask about every unknown call that is due.

        Returns:
            How many are known now.
        """
        calls = await self._unknown()
        self._due = {call.id: self._due[call.id] for call in calls if call.id in self._due}
        return sum([await self._ask(call) for call in calls if self._is_due(call.id)])

    async def _unknown(self) -> Sequence[ProviderCall]:
        async with self._db.transaction() as session:
            return (
                await session.scalars(
                    select(ProviderCall)
                    .where(ProviderCall.status == CallStatus.UNKNOWN)
                    .order_by(ProviderCall.created_at.desc())
                    .limit(BATCH)
                )
            ).all()

    def _is_due(self, call_id: UUID) -> bool:
        at, pause = self._due.get(call_id, (0.0, FIRST_ASK / 2))
        if monotonic() < at:
            return False
        pause = min(2 * pause, LONGEST_ASK)
        self._due[call_id] = (monotonic() + pause.total_seconds(), pause)
        return True

    async def _ask(self, call: ProviderCall) -> bool:
        try:
            answer = None
            if call.run_id is not None:
                answer = await self._find_answer(call.run_id, call.id)
            if answer is not None:
                verdict = Verdict(resolution=CHARGED)
                reported = outcomes.believed(answer)
                await outcomes.write_persistently(
                    self._db, lambda session: outcomes.settle(session, call.id, reported, verdict)
                )
                return True
            provider, project_id = self._providers.get(call.provider_code), call.project_id
            if provider is None or project_id is None:
                return False  # a tool's call: who made it is told its id, and says what became of it

            async def access() -> ProviderAccess:
                return await self._find_access(provider, project_id)

            return await ask_provider(self._db, provider, call.id, access) is not None
        except KromaError as exc:
            log.warning("ledger.not_reconciled", call_id=str(call.id), error=exc.message)
            return False
