"""Runs, their jobs, candidates, recorded steps and events. How the statuses move: ``kroma.runs.states``."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, Numeric, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from kroma.db.base import Base, Created, Identified
from kroma.leases.models import Failable, Leased


class RunMode(StrEnum):
    """``dry`` plans and logs; ``run`` makes pictures."""

    DRY = "dry"
    RUN = "run"


class Stage(StrEnum):
    """What a run varies."""

    STYLE = "style"
    TIME = "time"
    WEATHER = "weather"
    CHARACTER = "character"


class TimeOfDay(StrEnum):
    """The light a picture is made in."""

    DAY = "day"
    NIGHT = "night"


class Weather(StrEnum):
    """The weather a picture is made in."""

    CLEAR = "clear"
    RAIN = "rain"


class RunStatus(StrEnum):
    """Where a run stands; ``unknown`` comes only from a foreign log without jobs."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELING = "canceling"
    OK = "ok"
    PARTIAL = "partial"
    FAILED = "failed"
    CANCELED = "canceled"
    UNKNOWN = "unknown"


OPEN_RUN_STATUSES = (RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.CANCELING)


class JobStatus(StrEnum):
    """Where a job stands."""

    PLANNED = "planned"
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED_OUTPUT_GUARD = "failed_output_guard"
    FAILED = "failed"
    CANCELED = "canceled"


OPEN_JOB_STATUSES = (JobStatus.QUEUED, JobStatus.RUNNING)


class CandidateStatus(StrEnum):
    """Where a candidate stands."""

    PLANNED = "planned"
    GENERATED = "generated"
    DONE = "done"
    FAILED_OUTPUT_GUARD = "failed_output_guard"
    FAILED = "failed"


class Run(Identified, Created, Leased, Failable, Base):
    """One triggered execution; its lease is the one for finishing it."""

    __tablename__ = "runs"
    __table_args__ = (
        UniqueConstraint("project_id", "run_log_path"),
        CheckConstraint("run_mode IN ('dry', 'run')", name="run_mode"),
        CheckConstraint(
            "status IN ('queued', 'running', 'canceling', 'ok', 'partial', 'failed', 'canceled', 'unknown')",
            name="status",
        ),
        CheckConstraint("candidates >= 1", name="candidates"),
        CheckConstraint("origin_kind IN ('retry', 'rerun', 'select')", name="origin_kind"),
        Index("ix_runs_origin_run_id", "origin_run_id"),
        Index(
            "uq_runs_idempotency_id",
            "idempotency_id",
            unique=True,
            postgresql_where=text("idempotency_id IS NOT NULL"),
        ),
        Index("ix_runs_listed", "project_id", text("created_at DESC"), text("id DESC")),
        Index("ix_runs_status", "project_id", "status", text("created_at DESC"), text("id DESC")),
        Index("ix_runs_stage", "project_id", "stage", text("created_at DESC"), text("id DESC")),
        Index("ix_runs_mode", "project_id", "run_mode", text("created_at DESC"), text("id DESC")),
        # The sweep reads only this slice, every 5 s.
        Index(
            "ix_runs_open",
            "created_at",
            postgresql_where=text("status IN ('queued', 'running', 'canceling')"),
        ),
    )

    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    run_mode: Mapped[str]
    status: Mapped[str] = mapped_column(default=RunStatus.QUEUED)
    stage: Mapped[str | None]
    time_of_day: Mapped[str | None]
    weather: Mapped[str | None]
    model_name: Mapped[str | None]
    provider_code: Mapped[str | None]
    image_size: Mapped[str | None]
    image_quality: Mapped[str | None]
    candidates: Mapped[int] = mapped_column(default=1, server_default=text("1"))
    """Images generated per job before ranking."""
    plan_json: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default=text("'{}'"))
    """The frozen ``RunPlan``: what the trigger decided, untouched by later edits of any file."""
    settings_snapshot_json: Mapped[Any] = mapped_column(default=dict, server_default=text("'{}'"))
    storage_sync_s3: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    run_log_path: Mapped[str | None]
    stdout: Mapped[str] = mapped_column(default="", server_default="")
    stderr: Mapped[str] = mapped_column(default="", server_default="")
    revision: Mapped[int] = mapped_column(BigInteger, default=1, server_default=text("1"))
    """Rises with every event; what the ETag of a run is made of."""
    estimated_usd: Mapped[Decimal | None] = mapped_column(Numeric(18, 6))
    """What the plan was estimated to cost; held against the budget until the run ends. None is unknown."""
    origin_run_id: Mapped[UUID | None] = mapped_column(ForeignKey("runs.id", ondelete="SET NULL"))
    origin_kind: Mapped[str | None]
    """``retry`` or ``rerun`` of ``origin_run_id``; ``select`` post-processes a candidate chosen from it."""
    idempotency_id: Mapped[UUID | None]
    """The ``Idempotency-Key`` record of the request that made it."""
    cancel_requested_at: Mapped[datetime | None]
    finishing_at: Mapped[datetime | None]
    """When the last job had ended and its log was begun."""
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    jobs: Mapped[list["RunJob"]] = relationship(lazy="raise", order_by="RunJob.ordinal")


class RunJob(Identified, Created, Leased, Failable, Base):
    """One image to make: a scene, redrawn."""

    __tablename__ = "run_jobs"
    __table_args__ = (
        UniqueConstraint("run_id", "job_key"),
        UniqueConstraint("run_id", "ordinal"),
        CheckConstraint("ordinal >= 0", name="ordinal"),
        # What a claim and the sweep look for.
        Index(
            "ix_run_jobs_open",
            "available_at",
            "created_at",
            postgresql_where=text("status IN ('queued', 'running')"),
        ),
        Index("ix_run_jobs_final_asset_id", "final_asset_id"),
    )

    run_id: Mapped[UUID] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    ordinal: Mapped[int]
    """Position in the plan, from 0."""
    job_key: Mapped[str]
    """``<stage>_<n>_<cleaned stem>``, unique in its run."""
    status: Mapped[str] = mapped_column(default=JobStatus.QUEUED)
    prompt_text: Mapped[str] = mapped_column(default="", server_default="")
    selected_candidate_index: Mapped[int | None]
    final_asset_id: Mapped[UUID | None] = mapped_column(
        ForeignKey("assets.id", ondelete="SET NULL", deferrable=True, initially="DEFERRED")
    )
    final_output: Mapped[str | None]
    meta_json: Mapped[Any] = mapped_column(default=dict, server_default=text("'{}'"))
    """This job's entry of the run log."""
    max_attempts: Mapped[int] = mapped_column(default=3, server_default=text("3"))
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    candidates: Mapped[list["RunCandidate"]] = relationship(
        lazy="raise", order_by="(RunCandidate.candidate_index, RunCandidate.id)"
    )


class RunCandidate(Identified, Created, Base):
    """One image made for a job."""

    __tablename__ = "run_candidates"
    __table_args__ = (
        UniqueConstraint("job_id", "candidate_index"),
        Index("ix_run_candidates_output_asset_id", "output_asset_id"),
        Index("ix_run_candidates_final_asset_id", "final_asset_id"),
    )

    job_id: Mapped[UUID] = mapped_column(ForeignKey("run_jobs.id", ondelete="CASCADE"))
    candidate_index: Mapped[int]
    """From 1."""
    status: Mapped[str] = mapped_column(default=CandidateStatus.PLANNED)
    output_asset_id: Mapped[UUID | None] = mapped_column(
        ForeignKey("assets.id", ondelete="SET NULL", deferrable=True, initially="DEFERRED")
    )
    final_asset_id: Mapped[UUID | None] = mapped_column(
        ForeignKey("assets.id", ondelete="SET NULL", deferrable=True, initially="DEFERRED")
    )
    output_path: Mapped[str | None]
    final_output_path: Mapped[str | None]
    rank_hard_failures: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    rank_soft_warnings: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    rank_avg_chroma_exceed: Mapped[Decimal] = mapped_column(
        Numeric(12, 6), default=Decimal(0), server_default=text("0")
    )
    meta_json: Mapped[Any] = mapped_column(default=dict, server_default=text("'{}'"))


class RunEvent(Base):
    """One change of a run, its jobs or its candidates, numbered without gaps within the run.

    Changes of ``runs.status`` and ``run_jobs.status`` write theirs by trigger, so that none can be
    forgotten; a recorded step writes its own (``kroma.runs.events``).
    """

    __tablename__ = "run_events"

    run_id: Mapped[UUID] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    """``runs.revision`` after the change."""
    kind: Mapped[str]
    """``run``, ``job``, ``step`` or ``notice``."""
    data_json: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default=text("'{}'"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())


class RunStep(Identified, Created, Base):
    """A finished step of a job and what it put out; a later claim continues behind it."""

    __tablename__ = "run_steps"
    __table_args__ = (
        UniqueConstraint("job_id", "name"),
        Index("ix_run_steps_input_hash", "input_hash", postgresql_where=text("input_hash IS NOT NULL")),
    )

    job_id: Mapped[UUID] = mapped_column(ForeignKey("run_jobs.id", ondelete="CASCADE"))
    name: Mapped[str]
    """The step's name; ``generate/2`` for the second candidate's generation."""
    version: Mapped[int] = mapped_column(default=1, server_default=text("1"))
    """Of the shape of ``output_json``."""
    fence: Mapped[int] = mapped_column(BigInteger)
    """The claim that wrote it."""
    input_hash: Mapped[str | None]
    """SHA-256 of everything the output follows from; a rerun takes the output of an equal one."""
    output_json: Mapped[Any]
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime]
