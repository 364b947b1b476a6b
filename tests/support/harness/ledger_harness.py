"""Paid calls without a pipeline: jobs as rows, pictures in memory, and workers that can be killed."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

import kroma.tables  # noqa: F401 - completes the mappings
from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.db.prepared import Prepared
from kroma.db.reader import Reader
from kroma.ledger.admission import Claimed
from kroma.ledger.answers import StoredAnswer
from kroma.ledger.call_scheduler import CallScheduler
from kroma.ledger.calls import PaidCalls
from kroma.ledger.models import ProviderCall
from kroma.ledger.outcomes import Answer
from kroma.providers.base import EditRequest, EditResult, Provider, ProviderAccess, ProviderPicture
from kroma.providers.fake import flat_png
from kroma.runs.models import JobStatus, Run, RunJob, RunStatus
from support.builders.factories import make_project

PICTURE = flat_png(4, 4, (9, 9, 9))


class KilledError(BaseException):
    """What a killed process would not even notice."""


class Life:
    """A process that ends at its n-th step, and does nothing afterwards."""

    def __init__(self, ends_at: int | None = None) -> None:
        self.steps = 0
        self._ends_at = ends_at

    def step(self) -> None:
        self.steps += 1
        if self._ends_at is not None and self.steps >= self._ends_at:
            raise KilledError


class MortalDatabase(Database):
    """Ends its process before or after any transaction."""

    def __init__(self, inner: Database, life: Life) -> None:
        self._inner = inner
        self._life = life

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[AsyncSession]:
        self._life.step()
        async with self._inner.transaction() as session:
            yield session
        self._life.step()

    @asynccontextmanager
    async def reading(self) -> AsyncGenerator[Reader]:
        self._life.step()
        async with self._inner.reading() as reader:
            yield reader

    async def fetch(self, statement: Prepared, values: Mapping[str, object]) -> list[Any]:
        self._life.step()
        rows = await self._inner.fetch(statement, values)
        self._life.step()
        return rows


class MemoryAnswerStore:
    """Implements ``AnswerStore``: two writes, as a store makes them."""

    def __init__(self, life: Life, notes: dict[UUID, Answer], pictures: dict[UUID, bytes]) -> None:
        self._life = life
        self._notes = notes
        self._pictures = pictures

    async def keep(self, call_id: UUID, result: EditResult, *, earlier_lost: int) -> bytes:  # noqa: ARG002
        self._life.step()
        self._notes[call_id] = Answer(model=result.model, cost_usd=result.cost_usd)
        await asyncio.sleep(0)
        self._life.step()
        self._pictures[call_id] = result.data
        self._life.step()
        return result.data

    async def find(self, call_id: UUID) -> StoredAnswer[bytes] | None:
        self._life.step()
        answer = self._notes.get(call_id)
        return None if answer is None else StoredAnswer(answer=answer, kept=self._pictures.get(call_id, b""))


class MortalProvider:
    """A provider as one process sees it."""

    def __init__(self, inner: Any, life: Life) -> None:
        self._inner = inner
        self._life = life

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def edit(self, request: EditRequest) -> EditResult:
        self._life.step()
        try:
            return await self._inner.edit(request)
        finally:
            self._life.step()


class Counter:
    """Jobs to buy pictures for."""

    def __init__(self, db: Database, project_id: UUID, run_id: UUID) -> None:
        self.db = db
        self.project_id = project_id
        self.run_id = run_id
        self.notes: dict[UUID, Answer] = {}
        self.pictures: dict[UUID, bytes] = {}
        self._jobs = 0

    @classmethod
    async def opened(cls, db: Database, *, slug: str = "comic") -> "Counter":
        async with db.transaction() as session:
            project = await make_project(session, slug=slug)
            run = Run(project_id=project.id, run_mode="run", status=RunStatus.RUNNING, provider_code="fake")
            session.add(run)
            await session.flush()
            return cls(db, project.id, run.id)

    async def job(self) -> UUID:
        self._jobs += 1
        async with self.db.transaction() as session:
            job = RunJob(
                run_id=self.run_id,
                ordinal=self._jobs,
                job_key=f"job_{self._jobs}",
                status=JobStatus.RUNNING,
                fence=0,
            )
            session.add(job)
            await session.flush()
            return job.id

    async def claim(self, job_id: UUID) -> Claimed:
        """Take a job over, whoever holds it."""
        async with self.db.transaction() as session:
            row = (
                await session.execute(
                    update(RunJob)
                    .where(RunJob.id == job_id)
                    .values(
                        fence=RunJob.fence + 1,
                        status=JobStatus.RUNNING,
                        lease_expires_at=utc_now() + timedelta(hours=1),
                    )
                    .returning(RunJob.fence, RunJob.job_key)
                )
            ).one()
        return Claimed(
            project_id=self.project_id,
            run_id=self.run_id,
            job_id=job_id,
            job_key=row.job_key,
            fence=row.fence,
        )

    def buy(
        self,
        claim: Claimed,
        provider: Any,
        *,
        scheduler: CallScheduler | None = None,
        life: Life | None = None,
        db: Database | None = None,
        candidate: int = 1,
        find_access: Callable[[], Awaitable[ProviderAccess]] | None = None,
    ) -> Awaitable[bytes]:
        """One candidate, asked for by a worker with this life."""
        life = life or Life()
        scheduler = scheduler or CallScheduler(
            answer_grace=timedelta(milliseconds=50), first_retry=timedelta(milliseconds=10)
        )
        seen: Provider = MortalProvider(provider, life)  # type: ignore[assignment]
        calls = PaidCalls(
            MortalDatabase(db or self.db, life),
            scheduler,
            seen,
            claim,
            find_access=find_access or no_key_needed,
            confirm=without_a_budget,
        )
        return calls.edit(request(candidate), MemoryAnswerStore(life, self.notes, self.pictures))

    async def calls(self, job_id: UUID | None = None) -> list[ProviderCall]:
        wanted = select(ProviderCall).order_by(ProviderCall.candidate_index, ProviderCall.number)
        if job_id is not None:
            wanted = wanted.where(ProviderCall.job_id == job_id)
        async with self.db.transaction() as session:
            return list(await session.scalars(wanted))

    async def now(self) -> Any:
        async with self.db.transaction() as session:
            return await session.scalar(select(func.clock_timestamp()))


async def without_a_budget(_: AsyncSession) -> None:
    pass


async def no_key_needed() -> ProviderAccess:
    return ProviderAccess()


def request(candidate: int = 1) -> EditRequest:
    return EditRequest(
        prompt="ink",
        scene=ProviderPicture(name="harbor.png", data=PICTURE, mime_type="image/png"),
        styles=(),
        stage="style",
        time_of_day="day",
        weather="clear",
        candidate_index=candidate,
        seed=1,
    )
