"""Everything the experiment left behind: rows, files, run logs, and the provider's bill."""

import hashlib
import io
import json
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
import msgspec
from PIL import Image

from chaos.bill import read_bills
from chaos.customers import Told

T = TypeVar("T")


class RunRow(msgspec.Struct, frozen=True, kw_only=True):
    """A run."""

    id: UUID
    project_id: UUID
    status: str
    run_mode: str
    revision: int
    lease_owner: str | None = None
    run_log_path: str | None = None
    origin_run_id: UUID | None = None
    origin_kind: str | None = None
    error_code: str | None = None


class JobRow(msgspec.Struct, frozen=True, kw_only=True):
    """A job."""

    id: UUID
    run_id: UUID
    job_key: str
    status: str
    fence: int
    lease_owner: str | None = None
    selected_candidate_index: int | None = None
    final_output: str | None = None
    error_code: str | None = None


class CandidateRow(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate."""

    job_id: UUID
    candidate_index: int
    status: str
    output_path: str | None = None


class StepRow(msgspec.Struct, frozen=True, kw_only=True):
    """A recorded step."""

    job_id: UUID
    name: str
    fence: int
    finished_at: datetime


class EventRow(msgspec.Struct, frozen=True, kw_only=True):
    """A run's event."""

    run_id: UUID
    seq: int
    kind: str
    data: dict[str, Any]


class CallRow(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the ledger."""

    id: UUID
    project_id: UUID
    status: str
    run_id: UUID | None = None
    job_id: UUID | None = None
    candidate_index: int = 1
    number: int = 1
    fence: int = 1
    price_usd: Decimal | None = None
    cost_usd: Decimal | None = None
    sent_at: datetime | None = None
    resolution: str | None = None
    error: str | None = None
    error_code: str | None = None


class AssetRow(msgspec.Struct, frozen=True, kw_only=True):
    """A kept file, as its row describes it."""

    project_id: UUID
    rel_path: str
    kind: str
    sha256: str | None = None
    size_bytes: int | None = None
    width: int | None = None
    height: int | None = None


class CostRow(msgspec.Struct, frozen=True, kw_only=True):
    """A cost event."""

    project_id: UUID
    run_id: UUID | None = None
    provider_code: str
    total_cost_usd: Decimal


class KeyRow(msgspec.Struct, frozen=True, kw_only=True):
    """An idempotency record."""

    id: UUID
    key: str
    state: str


class FileFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A kept file, as it is."""

    sha256: str
    size_bytes: int
    width: int | None = None
    height: int | None = None
    problem: str | None = None
    """Why it is no picture."""


class History(msgspec.Struct, kw_only=True):
    """All of it."""

    runs: list[RunRow] = []
    jobs: list[JobRow] = []
    candidates: list[CandidateRow] = []
    steps: list[StepRow] = []
    events: list[EventRow] = []
    calls: list[CallRow] = []
    assets: list[AssetRow] = []
    costs: list[CostRow] = []
    keys: list[KeyRow] = []
    budgets: dict[UUID, Decimal] = {}
    files: dict[tuple[UUID, str], FileFacts] = {}
    """By project and path; what is not there is missing."""
    logs: dict[UUID, dict[str, Any]] = {}
    """Run logs in the store, by run."""
    bills: list[str] = []
    """The idempotency key of every image the provider charged for."""
    told: Told = msgspec.field(default_factory=Told)


async def read_history(database_url: str, *, roots: Mapping[UUID, Path], bills: Path, told: Told) -> History:
    """Read the tables, the files of the projects and the bill.

    Args:
        database_url: PostgreSQL, mended.
        roots: The projects' folders.
        bills: The double's file.
        told: What the customers were told.
    """
    connection = await asyncpg.connect(database_url)
    try:
        # One moment, though something that is stuck may still be moving.
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            history = await _tables(connection)
    finally:
        await connection.close()
    history.told = told
    history.bills = read_bills(bills)
    for asset in history.assets:
        file = roots[asset.project_id] / asset.rel_path
        if file.is_file():
            is_picture = asset.kind != "run_log"
            history.files[asset.project_id, asset.rel_path] = _facts(file.read_bytes(), picture=is_picture)
    for run in history.runs:
        file = roots[run.project_id] / (run.run_log_path or "")
        if file.is_file():
            history.logs[run.id] = json.loads(file.read_bytes())
    return history


async def _tables(connection: "asyncpg.Connection[asyncpg.Record]") -> History:
    async def rows(kind: type[T], table: str, order: str = "id") -> list[T]:
        names = ", ".join(field.name for field in msgspec.structs.fields(kind))
        found = await connection.fetch(f"SELECT {names} FROM {table} ORDER BY {order}")  # noqa: S608 - ours
        return [kind(**dict(row)) for row in found]

    events = await connection.fetch(
        "SELECT run_id, seq, kind, data_json::text AS data FROM run_events ORDER BY run_id, seq"
    )
    budgets = await connection.fetch("SELECT project_id, limit_usd FROM project_budgets")
    return History(
        runs=await rows(RunRow, "runs"),
        jobs=await rows(JobRow, "run_jobs"),
        candidates=await rows(CandidateRow, "run_candidates"),
        steps=await rows(StepRow, "run_steps", "job_id, finished_at"),
        calls=await rows(CallRow, "provider_calls", "job_id, candidate_index, number"),
        assets=await rows(AssetRow, "assets"),
        costs=await rows(CostRow, "cost_events"),
        keys=await rows(KeyRow, "idempotency_keys"),
        events=[EventRow(**(dict(row) | {"data": json.loads(row["data"])})) for row in events],
        budgets={row["project_id"]: row["limit_usd"] for row in budgets},
    )


def _facts(data: bytes, *, picture: bool) -> FileFacts:
    facts = FileFacts(sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))
    if not picture:
        return facts
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            return msgspec.structs.replace(facts, width=image.width, height=image.height)
    except (OSError, ValueError, SyntaxError) as exc:
        return msgspec.structs.replace(facts, problem=str(exc))
