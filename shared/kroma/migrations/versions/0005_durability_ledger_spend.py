"""Durability, ledger, spend

Revision 0005, after 0004.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


GUARDS = (
    """
    CREATE FUNCTION kroma_legal_move(what text, legal text[], old_row record, new_row record) RETURNS void
    LANGUAGE plpgsql AS $$
    BEGIN
        IF new_row.status <> old_row.status AND old_row.status || '>' || new_row.status <> ALL (legal) THEN
            RAISE EXCEPTION 'a % cannot go from % to %', what, old_row.status, new_row.status
                USING ERRCODE = 'check_violation', CONSTRAINT = 'legal_move';
        END IF;
        IF new_row.fence < old_row.fence THEN
            RAISE EXCEPTION 'the fence of a % cannot fall from % to %', what, old_row.fence, new_row.fence
                USING ERRCODE = 'check_violation', CONSTRAINT = 'rising_fence';
        END IF;
    END $$
    """,
    """
    CREATE FUNCTION kroma_run_event(run uuid, kind text, data jsonb) RETURNS void LANGUAGE sql AS $$
        WITH bumped AS (UPDATE runs SET revision = revision + 1 WHERE id = run RETURNING revision)
        INSERT INTO run_events (run_id, seq, kind, data_json) SELECT run, revision, kind, data FROM bumped
    $$
    """,
    # A run without a plan came from a foreign log: its status is whatever the log says.
    """
    CREATE FUNCTION kroma_run_moves() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM kroma_legal_move('run', ARRAY[
            'queued>running', 'queued>cancelling', 'queued>canceled',
            'running>cancelling', 'running>ok', 'running>partial', 'running>failed', 'running>canceled',
            'cancelling>canceled'
        ], OLD, NEW);
        IF NEW.status <> OLD.status THEN
            NEW.revision := OLD.revision + 1;
            INSERT INTO run_events (run_id, seq, kind, data_json) VALUES (NEW.id, NEW.revision, 'run',
                jsonb_strip_nulls(jsonb_build_object('status', NEW.status, 'error', NEW.error,
                    'error_kind', NEW.error_kind, 'error_code', NEW.error_code)));
        END IF;
        RETURN NEW;
    END $$
    """,
    """
    CREATE TRIGGER run_moves BEFORE UPDATE OF status, fence ON runs FOR EACH ROW
    WHEN (OLD.plan_json <> '{}'::jsonb AND (OLD.status <> NEW.status OR OLD.fence <> NEW.fence))
    EXECUTE FUNCTION kroma_run_moves()
    """,
    """
    CREATE FUNCTION kroma_run_begins() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO run_events (run_id, seq, kind, data_json)
        VALUES (NEW.id, NEW.revision, 'run', jsonb_build_object('status', NEW.status));
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER run_begins AFTER INSERT ON runs FOR EACH ROW WHEN (NEW.plan_json <> '{}'::jsonb)
    EXECUTE FUNCTION kroma_run_begins()
    """,
    """
    CREATE FUNCTION kroma_job_moves() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM kroma_legal_move('job', ARRAY[
            'queued>running', 'queued>canceled',
            'running>queued', 'running>done', 'running>failed_output_guard', 'running>failed',
            'running>canceled'
        ], OLD, NEW);
        IF NEW.status <> OLD.status THEN
            PERFORM kroma_run_event(NEW.run_id, 'job',
                jsonb_strip_nulls(jsonb_build_object('job_id', NEW.id, 'job_key', NEW.job_key,
                    'status', NEW.status, 'attempt', NEW.attempt, 'error', NEW.error,
                    'error_kind', NEW.error_kind, 'error_code', NEW.error_code)));
        END IF;
        RETURN NULL;
    END $$
    """,
    # Jobs of foreign runs have no claim, so their fence stays 0.
    """
    CREATE TRIGGER job_moves AFTER UPDATE OF status, fence ON run_jobs FOR EACH ROW
    WHEN (NEW.fence > 0 OR OLD.status = 'queued') EXECUTE FUNCTION kroma_job_moves()
    """,
    """
    CREATE FUNCTION kroma_call_moves() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM kroma_legal_move('provider call', ARRAY[
            'intent>sent', 'intent>refused', 'sent>settled', 'sent>refused', 'sent>unknown',
            'unknown>settled', 'unknown>refused'
        ], OLD, NEW);
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER call_moves AFTER UPDATE OF status, fence ON provider_calls FOR EACH ROW
    EXECUTE FUNCTION kroma_call_moves()
    """,
)
"""Legal moves (``kroma.runs.states`` at this revision) and the events that every move writes."""

UNGUARDED = (
    "DROP TRIGGER job_moves ON run_jobs",
    "DROP TRIGGER run_begins ON runs",
    "DROP TRIGGER run_moves ON runs",
    "DROP TRIGGER call_moves ON provider_calls",
    "DROP FUNCTION kroma_call_moves()",
    "DROP FUNCTION kroma_job_moves()",
    "DROP FUNCTION kroma_run_begins()",
    "DROP FUNCTION kroma_run_moves()",
    "DROP FUNCTION kroma_run_event(uuid, text, jsonb)",
    "DROP FUNCTION kroma_legal_move(text, text[], record, record)",
)


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "idempotency_keys",
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("request_hash", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("status_code", sa.Integer(), nullable=True),
        sa.Column("headers_json", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "state IN ('in_flight', 'applied', 'answered')", name=op.f("ck_idempotency_keys_state")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_idempotency_keys")),
        sa.UniqueConstraint("scope", "path", "key", name=op.f("uq_idempotency_keys_scope_path_key")),
    )
    op.create_index("ix_idempotency_keys_expires_at", "idempotency_keys", ["expires_at"], unique=False)
    op.create_table(
        "project_budgets",
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("limit_usd", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column(
            "warning_levels",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'[]'"),
            nullable=False,
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint("period IN ('day', 'month', 'total')", name=op.f("ck_project_budgets_period")),
        sa.CheckConstraint("limit_usd >= 0", name=op.f("ck_project_budgets_limit_usd")),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_project_budgets_project_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("project_id", name=op.f("pk_project_budgets")),
    )
    op.create_table(
        "provider_gates",
        sa.Column("provider_code", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=True),
        sa.Column("next_call_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("retry_after", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failures", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("open_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("paused_code", sa.Text(), nullable=True),
        sa.Column("paused_reason", sa.Text(), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_provider_gates_project_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_provider_gates")),
        sa.UniqueConstraint(
            "provider_code",
            "project_id",
            name=op.f("uq_provider_gates_provider_code_project_id"),
            postgresql_nulls_not_distinct=True,
        ),
    )
    op.create_table(
        "run_events",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column(
            "data_json",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.id"], name=op.f("fk_run_events_run_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", "seq", name=op.f("pk_run_events")),
    )
    op.create_table(
        "provider_calls",
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=True),
        sa.Column("job_id", sa.Uuid(), nullable=True),
        sa.Column("job_key", sa.Text(), nullable=False),
        sa.Column("candidate_index", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("provider_code", sa.Text(), nullable=False),
        sa.Column("model_name", sa.Text(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("price_usd", sa.Numeric(precision=18, scale=6), nullable=True),
        sa.Column("cost_usd", sa.Numeric(precision=18, scale=6), nullable=True),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column(
            "usage_json",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("resolution", sa.Text(), nullable=True),
        sa.Column("resolved_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("resolved_by", sa.Uuid(), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "resolution IN ('charged', 'not_charged')", name=op.f("ck_provider_calls_resolution")
        ),
        sa.CheckConstraint(
            "status IN ('intent', 'sent', 'settled', 'refused', 'unknown')",
            name=op.f("ck_provider_calls_status"),
        ),
        sa.ForeignKeyConstraint(
            ["job_id"], ["run_jobs.id"], name=op.f("fk_provider_calls_job_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_provider_calls_project_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.id"], name=op.f("fk_provider_calls_run_id"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_provider_calls")),
        sa.UniqueConstraint(
            "job_id",
            "candidate_index",
            "number",
            name=op.f("uq_provider_calls_job_id_candidate_index_number"),
        ),
    )
    op.create_index(
        "ix_provider_calls_in_flight",
        "provider_calls",
        ["provider_code", "project_id"],
        unique=False,
        postgresql_where=sa.text("status IN ('intent', 'sent')"),
    )
    op.create_index(
        "ix_provider_calls_listed",
        "provider_calls",
        ["project_id", sa.literal_column("created_at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index("ix_provider_calls_run_id", "provider_calls", ["run_id"], unique=False)
    op.create_index(
        "ix_provider_calls_status",
        "provider_calls",
        ["project_id", "status", sa.literal_column("created_at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.add_column("projects", sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("projects", sa.Column("paused_reason", sa.Text(), nullable=True))
    op.add_column("run_steps", sa.Column("input_hash", sa.Text(), nullable=True))
    op.create_index(
        "ix_run_steps_input_hash",
        "run_steps",
        ["input_hash"],
        unique=False,
        postgresql_where=sa.text("input_hash IS NOT NULL"),
    )
    op.add_column("runs", sa.Column("revision", sa.BigInteger(), server_default=sa.text("1"), nullable=False))
    op.add_column("runs", sa.Column("estimated_usd", sa.Numeric(precision=18, scale=6), nullable=True))
    op.add_column("runs", sa.Column("origin_run_id", sa.Uuid(), nullable=True))
    op.add_column("runs", sa.Column("origin_kind", sa.Text(), nullable=True))
    op.add_column("runs", sa.Column("idempotency_id", sa.Uuid(), nullable=True))
    op.add_column("runs", sa.Column("cancel_requested_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("runs", sa.Column("finishing_at", sa.DateTime(timezone=True), nullable=True))
    op.create_check_constraint(op.f("ck_runs_origin_kind"), "runs", "origin_kind IN ('retry', 'rerun')")
    op.create_index("ix_runs_origin_run_id", "runs", ["origin_run_id"], unique=False)
    op.create_index(
        "uq_runs_idempotency_id",
        "runs",
        ["idempotency_id"],
        unique=True,
        postgresql_where=sa.text("idempotency_id IS NOT NULL"),
    )
    op.create_foreign_key(
        op.f("fk_runs_origin_run_id"), "runs", "runs", ["origin_run_id"], ["id"], ondelete="SET NULL"
    )
    for statement in GUARDS:
        op.execute(statement)


def downgrade() -> None:
    """Take back."""
    for statement in UNGUARDED:
        op.execute(statement)
    op.drop_constraint(op.f("fk_runs_origin_run_id"), "runs", type_="foreignkey")
    op.drop_index(
        "uq_runs_idempotency_id", table_name="runs", postgresql_where=sa.text("idempotency_id IS NOT NULL")
    )
    op.drop_index("ix_runs_origin_run_id", table_name="runs")
    op.drop_constraint(op.f("ck_runs_origin_kind"), "runs", type_="check")
    op.drop_column("runs", "finishing_at")
    op.drop_column("runs", "cancel_requested_at")
    op.drop_column("runs", "idempotency_id")
    op.drop_column("runs", "origin_kind")
    op.drop_column("runs", "origin_run_id")
    op.drop_column("runs", "estimated_usd")
    op.drop_column("runs", "revision")
    op.drop_index(
        "ix_run_steps_input_hash", table_name="run_steps", postgresql_where=sa.text("input_hash IS NOT NULL")
    )
    op.drop_column("run_steps", "input_hash")
    op.drop_column("projects", "paused_reason")
    op.drop_column("projects", "paused_at")
    op.drop_index("ix_provider_calls_status", table_name="provider_calls")
    op.drop_index("ix_provider_calls_run_id", table_name="provider_calls")
    op.drop_index("ix_provider_calls_listed", table_name="provider_calls")
    op.drop_index(
        "ix_provider_calls_in_flight",
        table_name="provider_calls",
        postgresql_where=sa.text("status IN ('intent', 'sent')"),
    )
    op.drop_table("provider_calls")
    op.drop_table("run_events")
    op.drop_table("provider_gates")
    op.drop_table("project_budgets")
    op.drop_index("ix_idempotency_keys_expires_at", table_name="idempotency_keys")
    op.drop_table("idempotency_keys")
