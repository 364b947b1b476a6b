"""A run that is being canceled is `canceling`

Revision 0014, after 0013.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0014"
down_revision: str | None = "0013"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Apply."""
    _respell("cancelling", "canceling")


def downgrade() -> None:
    """Take back."""
    _respell("canceling", "cancelling")


def _respell(old: str, new: str) -> None:
    op.drop_constraint(op.f("ck_runs_status"), "runs", type_="check")
    op.drop_index("ix_runs_open", table_name="runs")
    op.execute("ALTER TABLE runs DISABLE TRIGGER run_moves")  # the new spelling is no move
    op.execute(f"UPDATE runs SET status = '{new}' WHERE status = '{old}'")
    op.execute("ALTER TABLE runs ENABLE TRIGGER run_moves")
    op.execute(
        f"""
        UPDATE run_events SET data_json = jsonb_set(data_json, '{{status}}', '"{new}"')
        WHERE kind = 'run' AND data_json ->> 'status' = '{old}'
        """
    )
    op.execute(_moves(new))
    op.create_check_constraint(
        op.f("ck_runs_status"),
        "runs",
        f"status IN ('queued', 'running', '{new}', 'ok', 'partial', 'failed', 'canceled', 'unknown')",
    )
    op.create_index(
        "ix_runs_open",
        "runs",
        ["created_at"],
        postgresql_where=sa.text(f"status IN ('queued', 'running', '{new}')"),
    )


def _moves(canceling: str) -> str:
    return f"""
    CREATE OR REPLACE FUNCTION kroma_run_moves() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM kroma_legal_move('run', ARRAY[
            'queued>running', 'queued>{canceling}', 'queued>canceled',
            'running>{canceling}', 'running>ok', 'running>partial', 'running>failed', 'running>canceled',
            '{canceling}>canceled'
        ], OLD, NEW);
        IF NEW.status <> OLD.status THEN
            NEW.revision := OLD.revision + 1;
            INSERT INTO run_events (run_id, seq, kind, data_json) VALUES (NEW.id, NEW.revision, 'run',
                jsonb_strip_nulls(jsonb_build_object('status', NEW.status, 'error', NEW.error,
                    'error_kind', NEW.error_kind, 'error_code', NEW.error_code)));
        END IF;
        RETURN NEW;
    END $$
    """
