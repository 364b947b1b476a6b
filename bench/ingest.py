"""Ingest of a log with 1,000 jobs of 4 candidates, compared with COPY of the resulting rows.

Kroma starts from the bytes of the log. The raw side already has the rows in PostgreSQL's binary format
and copies them into the same tables, with the same indexes and constraints, in one transaction.
"""

import asyncio
import hashlib
import io
import json
import time
from typing import Any
from uuid import UUID, uuid4

import asyncpg
from figures import line
from stack import running_stack

from kroma.db.engine import Database
from kroma.ingest.service import ingest_log
from kroma.projects.service import ProjectDraft, upsert_project
from kroma.runlog import schema as log
from kroma.runlog.ids import asset_id, stable_id
from kroma.runlog.writer import encode
from support.doubles.memory_store import MemoryStores

JOBS, CANDIDATES, STYLES = 1000, 4, 2
TARGET = 0.4
WRITTEN = (
    "runs",
    "assets",
    "run_jobs",
    "run_candidates",
    "asset_links",
    "quality_reports",
    "cost_events",
    "audit_events",
)
GUARD = log.GuardLog(enabled=True, enforce_grayscale=False, max_chroma_delta=2.0, fail_on_chroma_exceed=False)


def _file(project_id: UUID, path: str) -> log.FileLog:
    return log.FileLog(
        asset_id=asset_id(project_id, path),
        path=path,
        storage_uri=f"file:///projects/bench/{path}",
        sha256=hashlib.sha256(path.encode()).hexdigest(),
        size_bytes=1_234_567,
        mime_type="image/png",
        width=1024,
        height=1536,
    )


def _candidate(project_id: UUID, run_id: UUID, key: str, index: int) -> log.CandidateLog:
    file = _file(project_id, f"outputs/{run_id}/{key}__c{index}.png")
    return log.CandidateLog(
        id=stable_id(run_id, key, index),
        candidate_index=index,
        status="done",
        output=file.path,
        final_output=file.path,
        rank=log.RankLog(soft_warnings=index % 2, avg_chroma_exceed=index / 8),
        output_guard=log.GuardReportLog(
            checked_input=file.path,
            summary=log.GuardSummaryLog(total_files=1, soft_warnings=index % 2),
            files=[log.GuardFileLog(file=file.path, chroma_delta=1.5 + index, grayscale_like=False)],
        ),
        file=file,
        reason="least color excess of its job",
        seed=index,
        provider="local",
        model="redraw-1",
        parameters={"time": "night", "weather": "rain", "strength": 0.5},
        cost_usd=0.0,
        duration_ms=812.5,
    )


def _job(project_id: UUID, run_id: UUID, number: int) -> log.JobLog:
    key = f"style_{number}_scene"
    candidates = [_candidate(project_id, run_id, key, index) for index in range(1, CANDIDATES + 1)]
    styles = [f"references/style_{style}.png" for style in range(STYLES)]
    scene = f"scenes/{number}.png"
    stamp = "2026-01-01T00:00:00.000Z"
    return log.JobLog(
        id=key,
        job_id=stable_id(run_id, key),
        mode="style",
        time="day",
        weather="clear",
        input_images=[scene, *styles],
        prompt="Redraw the scene in the style of the references, ink and wash, keep every line. " * 4,
        status="done",
        planned_generation={"candidates": CANDIDATES},
        planned_postprocess=log.PostprocessLog(),
        planned_output_guard=GUARD,
        selected_candidate=1,
        final_output=f"outputs/{run_id}/{key}__c1.png",
        output=f"outputs/{run_id}/{key}__c1.png",
        output_guard=candidates[0].output_guard,
        candidates=candidates,
        inputs=[
            log.InputLog(ref=scene, role="scene", file=_file(project_id, scene)),
            *(log.InputLog(ref=style, role="style", file=_file(project_id, style)) for style in styles),
        ],
        steps=[
            log.StepLog(name=name, started_at=stamp, finished_at=stamp, duration_ms=1.0)
            for name in ("inputs", "generate", "check_quality", "rank")
        ],
        attempts=1,
        started_at=stamp,
        finished_at=stamp,
    )


def big_log(project_id: UUID, run_id: UUID, count: int) -> bytes:
    """The log of a run with ``count`` jobs, as the worker that finishes the run writes it."""
    jobs = [_job(project_id, run_id, number) for number in range(1, count + 1)]
    costs = [
        log.CostLog(
            id=stable_id(run_id, "cost", job.id, index),
            provider_code="local",
            model_name="redraw-1",
            operation="image_generation",
            units=1,
            cost_usd=0.0,
            job_id=job.id,
            candidate_index=index,
        )
        for job in jobs
        for index in range(1, CANDIDATES + 1)
    ]
    return encode(
        log.RunLog(
            timestamp="2026-01-01T00:00:00.000Z",
            project="bench",
            mode="run",
            stage="style",
            time="day",
            weather="clear",
            model="redraw-1",
            size="",
            quality="",
            generation=log.GenerationLog(candidates=CANDIDATES, max_candidates=6),
            postprocess=log.PostprocessLog(),
            output_guard=GUARD,
            storage=log.StorageLog(project_root="/projects/bench"),
            jobs=jobs,
            run_id=run_id,
            project_id=project_id,
            status="ok",
            provider="local",
            seed=0,
            steps=["generate", "check_quality", "rank"],
            cost_events=costs,
        )
    )


async def _empty(connection: asyncpg.Connection) -> None:
    await connection.execute(f"TRUNCATE {', '.join(WRITTEN)} CASCADE")
    await connection.execute("CHECKPOINT")


async def _ours(db: Database, project_id: UUID, run_id: UUID, data: bytes) -> float:
    started = time.perf_counter()
    await ingest_log(db, project_id=project_id, log_path=f"runs/run_{run_id}.json", data=data)
    return (time.perf_counter() - started) * 1000


async def _dumped(connection: asyncpg.Connection) -> dict[str, bytes]:
    dumps: dict[str, bytes] = {}
    for table in WRITTEN:
        buffer = io.BytesIO()
        # A plain SELECT returns new rows in the order in which they were written.
        await connection.copy_from_query(f"SELECT * FROM {table}", output=buffer, format="binary")
        dumps[table] = buffer.getvalue()
    return dumps


async def _raw(connection: asyncpg.Connection, dumps: dict[str, bytes]) -> float:
    started = time.perf_counter()
    async with connection.transaction():
        for table, dump in dumps.items():
            await connection.copy_to_table(table, source=io.BytesIO(dump), format="binary")
    return (time.perf_counter() - started) * 1000


async def _compared(url: str, rounds: int, jobs: int) -> tuple[list[tuple[float, float]], dict[str, int]]:
    db, connection = Database.connect(url), await asyncpg.connect(url)
    draft = ProjectDraft.checked(name="bench")
    project_id, run_id = (await upsert_project(db, MemoryStores(), draft, actor=None)).project.id, uuid4()
    data = big_log(project_id, run_id, jobs)
    pairs: list[tuple[float, float]] = []
    counts: dict[str, int] = {}
    for _ in range(rounds):  # alternating, so that a busy machine slows both
        await _empty(connection)
        ours_ms = await _ours(db, project_id, run_id, data)
        dumps = await _dumped(connection)
        counts = {t: await connection.fetchval(f"SELECT count(*) FROM {t}") for t in WRITTEN}
        await _empty(connection)
        pairs.append((ours_ms, await _raw(connection, dumps)))
    await connection.close()
    await db.close()
    return pairs, counts | {"log bytes": len(data)}


def measure(*, smoke: bool = False) -> dict[str, Any]:
    """Compare medians on a private server."""
    rounds, jobs = (1, 3) if smoke else (5, JOBS)
    with running_stack() as stack:
        pairs, counts = asyncio.run(_compared(stack.database_url, rounds, jobs))
    return line("ingest", pairs, at_least=TARGET) | {"rows": counts}


def main() -> None:
    print(json.dumps(measure()))


if __name__ == "__main__":
    main()
