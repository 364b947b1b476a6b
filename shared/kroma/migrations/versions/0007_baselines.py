"""Baselines, and runs that post-process a chosen candidate

Revision 0007, after 0006.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "baselines",
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("scene_sha256", sa.Text(), nullable=False),
        sa.Column("scene_size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("scene_path", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=True),
        sa.Column("job_id", sa.Uuid(), nullable=True),
        sa.Column("job_key", sa.Text(), nullable=False),
        sa.Column("candidate_id", sa.Uuid(), nullable=True),
        sa.Column("candidate_index", sa.Integer(), nullable=False),
        sa.Column("asset_id", sa.Uuid(), nullable=True),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("mime_type", sa.Text(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("time_of_day", sa.Text(), nullable=False),
        sa.Column("weather", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), server_default="", nullable=False),
        sa.Column("locked_by", sa.Uuid(), nullable=True),
        sa.Column(
            "locked_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("replaced_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_baselines_project_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.id"], name=op.f("fk_baselines_run_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["job_id"], ["run_jobs.id"], name=op.f("fk_baselines_job_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["candidate_id"],
            ["run_candidates.id"],
            name=op.f("fk_baselines_candidate_id"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["asset_id"], ["assets.id"], name=op.f("fk_baselines_asset_id"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_baselines")),
    )
    op.create_index(
        "uq_baselines_current",
        "baselines",
        ["project_id", "scene_sha256"],
        unique=True,
        postgresql_where=sa.text("replaced_at IS NULL"),
    )
    op.create_index(
        "ix_baselines_listed",
        "baselines",
        ["project_id", sa.literal_column("locked_at DESC"), sa.literal_column("id DESC")],
    )
    op.create_index("ix_baselines_run_id", "baselines", ["run_id"])
    op.create_index("ix_baselines_job_id", "baselines", ["job_id"])
    op.create_index("ix_baselines_candidate_id", "baselines", ["candidate_id"])
    op.create_index("ix_baselines_asset_id", "baselines", ["asset_id"])
    op.drop_constraint(op.f("ck_runs_origin_kind"), "runs", type_="check")
    op.create_check_constraint(
        op.f("ck_runs_origin_kind"), "runs", "origin_kind IN ('retry', 'rerun', 'select')"
    )


def downgrade() -> None:
    """Take back."""
    op.drop_constraint(op.f("ck_runs_origin_kind"), "runs", type_="check")
    # The version before knows no third kind; what the run came from is kept.
    op.execute("UPDATE runs SET origin_kind = 'rerun' WHERE origin_kind = 'select'")
    op.create_check_constraint(op.f("ck_runs_origin_kind"), "runs", "origin_kind IN ('retry', 'rerun')")
    op.drop_table("baselines")
