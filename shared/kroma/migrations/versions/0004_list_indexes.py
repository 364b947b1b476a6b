"""Indexes for every list and filter

Revision 0004, after 0003.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op


revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


_BY_CHARACTERS = (
    ("provider_accounts", "provider_code"),
    ("project_secrets", "provider_code"),
    ("project_secrets", "secret_name"),
)
"""Texts by which rows are listed: their primary key shall have that order."""


def upgrade() -> None:
    """Apply."""
    for table, column in _BY_CHARACTERS:
        op.alter_column(table, column, type_=sa.Text(collation="C"))
    op.create_index(
        "ix_api_tokens_listed",
        "api_tokens",
        [sa.literal_column("created_at DESC"), sa.literal_column("id DESC")],
    )
    op.drop_index("ix_assets_run_id", table_name="assets")
    op.create_index(
        "ix_assets_run_id",
        "assets",
        ["run_id", sa.literal_column("created_at DESC"), sa.literal_column("id DESC")],
    )
    op.drop_index("ix_audit_events_project", table_name="audit_events")
    op.create_index(
        "ix_audit_events_code",
        "audit_events",
        ["project_id", "event_code", sa.literal_column("created_at DESC"), sa.literal_column("id DESC")],
    )
    op.create_index(
        "ix_audit_events_listed",
        "audit_events",
        ["project_id", sa.literal_column("created_at DESC"), sa.literal_column("id DESC")],
    )
    op.drop_index("ix_cost_events_run_id", table_name="cost_events")
    op.create_index(
        "ix_cost_events_run_id",
        "cost_events",
        ["run_id", sa.literal_column("created_at DESC"), sa.literal_column("id DESC")],
    )
    op.create_index(
        "ix_cost_events_provider",
        "cost_events",
        ["project_id", "provider_code", sa.literal_column("created_at DESC"), sa.literal_column("id DESC")],
    )
    op.drop_index("ix_projects_listed", table_name="projects")
    op.create_index(
        "ix_projects_listed",
        "projects",
        [
            sa.literal_column("updated_at DESC"),
            sa.literal_column("created_at DESC"),
            sa.literal_column("id DESC"),
        ],
    )
    op.create_index(
        "ix_runs_mode",
        "runs",
        ["project_id", "run_mode", sa.literal_column("created_at DESC"), sa.literal_column("id DESC")],
    )
    op.create_index(
        "ix_runs_stage",
        "runs",
        ["project_id", "stage", sa.literal_column("created_at DESC"), sa.literal_column("id DESC")],
    )
    op.create_index(
        "ix_runs_status",
        "runs",
        ["project_id", "status", sa.literal_column("created_at DESC"), sa.literal_column("id DESC")],
    )


def downgrade() -> None:
    """Take back."""
    op.drop_index("ix_runs_status", table_name="runs")
    op.drop_index("ix_runs_stage", table_name="runs")
    op.drop_index("ix_runs_mode", table_name="runs")
    op.drop_index("ix_projects_listed", table_name="projects")
    op.create_index(
        "ix_projects_listed",
        "projects",
        [sa.literal_column("updated_at DESC"), sa.literal_column("created_at DESC")],
    )
    op.drop_index("ix_cost_events_provider", table_name="cost_events")
    op.drop_index("ix_cost_events_run_id", table_name="cost_events")
    op.create_index("ix_cost_events_run_id", "cost_events", ["run_id"])
    op.drop_index("ix_audit_events_listed", table_name="audit_events")
    op.drop_index("ix_audit_events_code", table_name="audit_events")
    op.create_index("ix_audit_events_project", "audit_events", ["project_id", "created_at"])
    op.drop_index("ix_assets_run_id", table_name="assets")
    op.create_index("ix_assets_run_id", "assets", ["run_id"])
    op.drop_index("ix_api_tokens_listed", table_name="api_tokens")
    for table, column in _BY_CHARACTERS:
        op.alter_column(table, column, type_=sa.Text(collation="default"))
