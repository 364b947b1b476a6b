"""Every pair of states of a run, a job and a call, against the database itself."""

from collections.abc import Awaitable, Callable, Mapping
from itertools import product
from uuid import UUID, uuid4

import pytest
from sqlalchemy import insert, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.db.engine import Database
from kroma.ledger.models import CallStatus, ProviderCall
from kroma.ledger.states import CALL_MOVES
from kroma.runs.models import JobStatus, Run, RunEvent, RunJob, RunStatus
from kroma.runs.states import JOB_MOVES, RUN_MOVES
from support.builders.factories import make_project

pytestmark = pytest.mark.timeout(60)

Subject = type[Run] | type[RunJob] | type[ProviderCall]
Make = Callable[[AsyncSession, str], Awaitable[UUID]]
Moves = Mapping[str, frozenset[str]]


async def a_run(session: AsyncSession, status: str = "queued") -> UUID:
    project = await make_project(session, slug=f"p-{uuid4().hex[:8]}")
    run_id = uuid4()
    await session.execute(
        insert(Run).values(
            id=run_id, project_id=project.id, run_mode="run", status=status, plan_json={"version": 1}, fence=1
        )
    )
    return run_id


async def a_job(session: AsyncSession, status: str) -> UUID:
    job_id, run_id = uuid4(), await a_run(session)
    await session.execute(
        insert(RunJob).values(id=job_id, run_id=run_id, ordinal=0, job_key="a", status=status, fence=1)
    )
    return job_id


async def a_call(session: AsyncSession, status: str) -> UUID:
    call_id, run_id = uuid4(), await a_run(session)
    project_id = await session.scalar(select(Run.project_id).where(Run.id == run_id))
    await session.execute(
        insert(ProviderCall).values(
            id=call_id,
            project_id=project_id,
            run_id=run_id,
            job_key="a",
            candidate_index=1,
            number=1,
            fence=1,
            provider_code="openai",
            model_name="m",
            operation="image_edit",
            status=status,
        )
    )
    return call_id


async def move(session: AsyncSession, subject: Subject, row_id: UUID, **values: object) -> str | None:
    """The constraint that refused the move, if one did."""
    try:
        async with session.begin_nested():
            await session.execute(
                update(subject)
                .where(subject.id == row_id)
                .values(**values)
                .execution_options(synchronize_session=False)
            )
    except IntegrityError as exc:
        return str(exc.orig)
    return None


@pytest.mark.parametrize(
    ("subject", "make", "statuses", "moves"),
    [
        pytest.param(Run, a_run, [s for s in RunStatus if s != "unknown"], RUN_MOVES, id="run"),
        pytest.param(RunJob, a_job, list(JobStatus), JOB_MOVES, id="job"),
        pytest.param(ProviderCall, a_call, list(CallStatus), CALL_MOVES, id="call"),
    ],
)
async def test_the_database_allows_the_drawn_moves_and_no_other(
    db: Database, subject: Subject, make: Make, statuses: list[str], moves: Moves
) -> None:
    wrong = []
    async with db.transaction() as session:
        for old, new in product(statuses, statuses):
            if old == new:
                continue
            row_id = await make(session, str(old))
            refusal = await move(session, subject, row_id, status=new)
            is_legal = new in moves.get(old, frozenset())
            if is_legal != (refusal is None):
                wrong.append((str(old), str(new), refusal))
    assert wrong == []


@pytest.mark.parametrize(
    ("subject", "make", "status"),
    [
        pytest.param(Run, a_run, "running", id="run"),
        pytest.param(RunJob, a_job, "running", id="job"),
        pytest.param(ProviderCall, a_call, "sent", id="call"),
    ],
)
async def test_a_fence_never_falls(db: Database, subject: Subject, make: Make, status: str) -> None:
    async with db.transaction() as session:
        row_id = await make(session, status)
        assert await move(session, subject, row_id, fence=2) is None
        assert "fence" in (await move(session, subject, row_id, fence=1) or "")


async def test_every_move_of_a_run_and_its_jobs_is_an_event(db: Database) -> None:
    async with db.transaction() as session:
        job_id = await a_job(session, "queued")
        run_id = await session.scalar(select(RunJob.run_id).where(RunJob.id == job_id))
        for status in ("running", "queued", "running", "done"):
            await move(session, RunJob, job_id, status=status)
        for status in ("running", "ok"):
            await move(session, Run, run_id, status=status)
        events = (
            await session.scalars(select(RunEvent).where(RunEvent.run_id == run_id).order_by(RunEvent.seq))
        ).all()
        revision = await session.scalar(select(Run.revision).where(Run.id == run_id))
    assert [(event.kind, event.data_json["status"]) for event in events] == [
        ("run", "queued"),
        ("job", "running"),
        ("job", "queued"),
        ("job", "running"),
        ("job", "done"),
        ("run", "running"),
        ("run", "ok"),
    ]
    assert [event.seq for event in events] == list(range(1, 8))
    assert revision == 7


async def test_a_run_from_a_foreign_log_may_say_anything(db: Database) -> None:
    async with db.transaction() as session:
        run_id = await a_run(session, "ok")
        await session.execute(text("UPDATE runs SET plan_json = '{}'"))
        assert await move(session, Run, run_id, status="partial") is None
