"""The tables of the main job

Revision 0001, the first.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

ASSET_ORIGINS = {"run_id": "runs", "job_id": "run_jobs", "candidate_id": "run_candidates"}


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "app_users",
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("is_active", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
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
        sa.PrimaryKeyConstraint("id", name=op.f("pk_app_users")),
        sa.UniqueConstraint("username", name=op.f("uq_app_users_username")),
    )
    op.create_table(
        "projects",
        sa.Column("owner_user_id", sa.Uuid(), nullable=False),
        sa.Column("slug", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("status", sa.Text(), server_default="active", nullable=False),
        sa.Column(
            "settings_json",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        sa.Column("id", sa.Uuid(), nullable=False),
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
        sa.CheckConstraint("status IN ('active', 'archived', 'deleted')", name=op.f("ck_projects_status")),
        sa.ForeignKeyConstraint(["owner_user_id"], ["app_users.id"], name=op.f("fk_projects_owner_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_projects")),
        sa.UniqueConstraint("slug", name=op.f("uq_projects_slug")),
    )
    op.create_index(
        "ix_projects_listed",
        "projects",
        [sa.literal_column("updated_at DESC"), sa.literal_column("created_at DESC")],
        unique=False,
    )
    op.create_index(op.f("ix_projects_owner_user_id"), "projects", ["owner_user_id"], unique=False)
    op.create_table(
        "api_tokens",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=True),
        sa.Column("token_hash", sa.Text(), nullable=False),
        sa.Column("token_prefix", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), server_default="", nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_api_tokens_project_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["app_users.id"], name=op.f("fk_api_tokens_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_tokens")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_api_tokens_token_hash")),
    )
    op.create_index("ix_api_tokens_project", "api_tokens", ["project_id", "created_at"], unique=False)
    op.create_index("ix_api_tokens_user", "api_tokens", ["user_id", "created_at"], unique=False)
    op.create_table(
        "assets",
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("storage_uri", sa.Text(), nullable=False),
        sa.Column("rel_path", sa.Text(), nullable=False),
        sa.Column("storage_backend", sa.Text(), server_default="local", nullable=False),
        sa.Column("mime_type", sa.Text(), nullable=True),
        sa.Column("width", sa.Integer(), nullable=True),
        sa.Column("height", sa.Integer(), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("sha256", sa.Text(), nullable=True),
        sa.Column("run_id", sa.Uuid(), nullable=True),
        sa.Column("job_id", sa.Uuid(), nullable=True),
        sa.Column("candidate_id", sa.Uuid(), nullable=True),
        sa.Column(
            "metadata_json",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_assets_project_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_assets")),
        sa.UniqueConstraint("project_id", "rel_path", name=op.f("uq_assets_project_id_rel_path")),
    )
    op.create_index("ix_assets_candidate_id", "assets", ["candidate_id"], unique=False)
    op.create_index("ix_assets_job_id", "assets", ["job_id"], unique=False)
    op.create_index(
        "ix_assets_kind",
        "assets",
        ["project_id", "kind", sa.literal_column("created_at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index(
        "ix_assets_listed",
        "assets",
        ["project_id", sa.literal_column("created_at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index("ix_assets_run_id", "assets", ["run_id"], unique=False)
    op.create_index("ix_assets_sha256", "assets", ["project_id", "sha256"], unique=False)
    op.create_table(
        "audit_events",
        sa.Column("project_id", sa.Uuid(), nullable=True),
        sa.Column("actor_user_id", sa.Uuid(), nullable=True),
        sa.Column("event_code", sa.Text(), nullable=False),
        sa.Column(
            "payload_json",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["actor_user_id"],
            ["app_users.id"],
            name=op.f("fk_audit_events_actor_user_id"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_audit_events_project_id"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_events")),
    )
    op.create_index("ix_audit_events_project", "audit_events", ["project_id", "created_at"], unique=False)
    op.create_table(
        "project_storage",
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("local_base_dir", sa.Text(), server_default="var/projects", nullable=False),
        sa.Column("local_project_root", sa.Text(), nullable=True),
        sa.Column("s3_enabled", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("s3_bucket", sa.Text(), nullable=True),
        sa.Column("s3_prefix", sa.Text(), nullable=True),
        sa.Column("s3_region", sa.Text(), nullable=True),
        sa.Column("s3_profile", sa.Text(), nullable=True),
        sa.Column("s3_endpoint_url", sa.Text(), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
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
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_project_storage_project_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_project_storage")),
        sa.UniqueConstraint("project_id", name=op.f("uq_project_storage_project_id")),
    )
    op.create_table(
        "runs",
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("run_mode", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=True),
        sa.Column("time_of_day", sa.Text(), nullable=True),
        sa.Column("weather", sa.Text(), nullable=True),
        sa.Column("model_name", sa.Text(), nullable=True),
        sa.Column("provider_code", sa.Text(), nullable=True),
        sa.Column("image_size", sa.Text(), nullable=True),
        sa.Column("image_quality", sa.Text(), nullable=True),
        sa.Column("candidates", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column(
            "plan_json",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        sa.Column(
            "settings_snapshot_json",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        sa.Column("storage_sync_s3", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("run_log_path", sa.Text(), nullable=True),
        sa.Column("stdout", sa.Text(), server_default="", nullable=False),
        sa.Column("stderr", sa.Text(), server_default="", nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("fence", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempt", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("available_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("error_kind", sa.Text(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.CheckConstraint("run_mode IN ('dry', 'run')", name=op.f("ck_runs_run_mode")),
        sa.CheckConstraint(
            "status IN ('queued', 'running', 'cancelling', 'ok', 'partial', 'failed', 'canceled', 'unknown')",
            name=op.f("ck_runs_status"),
        ),
        sa.CheckConstraint("candidates >= 1", name=op.f("ck_runs_candidates")),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_runs_project_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
        sa.UniqueConstraint("project_id", "run_log_path", name=op.f("uq_runs_project_id_run_log_path")),
    )
    op.create_index(
        "ix_runs_listed",
        "runs",
        ["project_id", sa.literal_column("created_at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index(
        "ix_runs_open",
        "runs",
        ["created_at"],
        unique=False,
        postgresql_where=sa.text("status IN ('queued', 'running', 'cancelling')"),
    )
    op.create_table(
        "asset_links",
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("parent_asset_id", sa.Uuid(), nullable=False),
        sa.Column("child_asset_id", sa.Uuid(), nullable=False),
        sa.Column("link_type", sa.Text(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
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
        sa.CheckConstraint(
            "link_type IN ('derived_from', 'variant_of', 'mask_for', 'reference_of')",
            name=op.f("ck_asset_links_link_type"),
        ),
        sa.CheckConstraint("parent_asset_id <> child_asset_id", name=op.f("ck_asset_links_ends_differ")),
        sa.ForeignKeyConstraint(
            ["child_asset_id"], ["assets.id"], name=op.f("fk_asset_links_child_asset_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["parent_asset_id"],
            ["assets.id"],
            name=op.f("fk_asset_links_parent_asset_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_asset_links_project_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_asset_links")),
        sa.UniqueConstraint(
            "project_id",
            "parent_asset_id",
            "child_asset_id",
            "link_type",
            name=op.f("uq_asset_links_project_id_parent_asset_id_child_asset_id_link_type"),
        ),
    )
    op.create_index("ix_asset_links_child", "asset_links", ["child_asset_id"], unique=False)
    op.create_index(
        "ix_asset_links_listed",
        "asset_links",
        ["project_id", sa.literal_column("updated_at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index("ix_asset_links_parent", "asset_links", ["parent_asset_id"], unique=False)
    op.create_table(
        "cost_events",
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=True),
        sa.Column("job_id", sa.Text(), nullable=True),
        sa.Column("provider_code", sa.Text(), nullable=False),
        sa.Column("model_name", sa.Text(), nullable=True),
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.Column("units", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.Column("unit_cost_usd", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.Column("total_cost_usd", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.Column("currency", sa.Text(), server_default="USD", nullable=False),
        sa.Column(
            "meta_json",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_cost_events_project_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.id"], name=op.f("fk_cost_events_run_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cost_events")),
    )
    op.create_index(
        "ix_cost_events_listed",
        "cost_events",
        ["project_id", sa.literal_column("created_at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index("ix_cost_events_run_id", "cost_events", ["run_id"], unique=False)
    op.create_table(
        "run_jobs",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("job_key", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("prompt_text", sa.Text(), server_default="", nullable=False),
        sa.Column("selected_candidate_index", sa.Integer(), nullable=True),
        sa.Column("final_asset_id", sa.Uuid(), nullable=True),
        sa.Column("final_output", sa.Text(), nullable=True),
        sa.Column(
            "meta_json",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        sa.Column("max_attempts", sa.Integer(), server_default=sa.text("3"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("fence", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempt", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("available_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("error_kind", sa.Text(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.CheckConstraint("ordinal >= 0", name=op.f("ck_run_jobs_ordinal")),
        sa.ForeignKeyConstraint(
            ["final_asset_id"],
            ["assets.id"],
            name=op.f("fk_run_jobs_final_asset_id"),
            ondelete="SET NULL",
            initially="DEFERRED",
            deferrable=True,
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_run_jobs_run_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run_jobs")),
        sa.UniqueConstraint("run_id", "job_key", name=op.f("uq_run_jobs_run_id_job_key")),
        sa.UniqueConstraint("run_id", "ordinal", name=op.f("uq_run_jobs_run_id_ordinal")),
    )
    op.create_index("ix_run_jobs_final_asset_id", "run_jobs", ["final_asset_id"], unique=False)
    op.create_index(
        "ix_run_jobs_open",
        "run_jobs",
        ["available_at", "created_at"],
        unique=False,
        postgresql_where=sa.text("status IN ('queued', 'running')"),
    )
    op.create_table(
        "run_candidates",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("candidate_index", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("output_asset_id", sa.Uuid(), nullable=True),
        sa.Column("final_asset_id", sa.Uuid(), nullable=True),
        sa.Column("output_path", sa.Text(), nullable=True),
        sa.Column("final_output_path", sa.Text(), nullable=True),
        sa.Column("rank_hard_failures", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("rank_soft_warnings", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column(
            "rank_avg_chroma_exceed",
            sa.Numeric(precision=12, scale=6),
            server_default=sa.text("0"),
            nullable=False,
        ),
        sa.Column(
            "meta_json",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["final_asset_id"],
            ["assets.id"],
            name=op.f("fk_run_candidates_final_asset_id"),
            ondelete="SET NULL",
            initially="DEFERRED",
            deferrable=True,
        ),
        sa.ForeignKeyConstraint(
            ["job_id"], ["run_jobs.id"], name=op.f("fk_run_candidates_job_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["output_asset_id"],
            ["assets.id"],
            name=op.f("fk_run_candidates_output_asset_id"),
            ondelete="SET NULL",
            initially="DEFERRED",
            deferrable=True,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run_candidates")),
        sa.UniqueConstraint(
            "job_id", "candidate_index", name=op.f("uq_run_candidates_job_id_candidate_index")
        ),
    )
    op.create_index("ix_run_candidates_final_asset_id", "run_candidates", ["final_asset_id"], unique=False)
    op.create_index("ix_run_candidates_output_asset_id", "run_candidates", ["output_asset_id"], unique=False)
    op.create_table(
        "run_steps",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("output_json", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["job_id"], ["run_jobs.id"], name=op.f("fk_run_steps_job_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run_steps")),
        sa.UniqueConstraint("job_id", "name", name=op.f("uq_run_steps_job_id_name")),
    )
    op.create_table(
        "quality_reports",
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=True),
        sa.Column("job_id", sa.Uuid(), nullable=True),
        sa.Column("candidate_id", sa.Uuid(), nullable=True),
        sa.Column("asset_id", sa.Uuid(), nullable=True),
        sa.Column("report_type", sa.Text(), nullable=False),
        sa.Column("grade", sa.Text(), server_default="", nullable=False),
        sa.Column("hard_failures", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("soft_warnings", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column(
            "avg_chroma_exceed",
            sa.Numeric(precision=12, scale=6),
            server_default=sa.text("0"),
            nullable=False,
        ),
        sa.Column(
            "summary_json",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["asset_id"], ["assets.id"], name=op.f("fk_quality_reports_asset_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["candidate_id"],
            ["run_candidates.id"],
            name=op.f("fk_quality_reports_candidate_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["job_id"], ["run_jobs.id"], name=op.f("fk_quality_reports_job_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_quality_reports_project_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.id"], name=op.f("fk_quality_reports_run_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quality_reports")),
    )
    op.create_index("ix_quality_reports_asset_id", "quality_reports", ["asset_id"], unique=False)
    op.create_index("ix_quality_reports_candidate_id", "quality_reports", ["candidate_id"], unique=False)
    op.create_index("ix_quality_reports_job_id", "quality_reports", ["job_id"], unique=False)
    op.create_index(
        "ix_quality_reports_listed",
        "quality_reports",
        ["project_id", sa.literal_column("created_at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index("ix_quality_reports_run_id", "quality_reports", ["run_id"], unique=False)
    op.create_table(
        "queue_messages",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column(
            "available_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_queue_messages")),
    )
    op.create_index("ix_queue_messages_due", "queue_messages", ["available_at", "id"], unique=False)
    # A job points to its final asset and that asset to its job: these three close the circle.
    for column, target in ASSET_ORIGINS.items():
        op.create_foreign_key(
            f"fk_assets_{column}",
            "assets",
            target,
            [column],
            ["id"],
            ondelete="SET NULL",
            deferrable=True,
            initially="DEFERRED",
        )


def downgrade() -> None:
    """Take back."""
    for column in ASSET_ORIGINS:
        op.drop_constraint(f"fk_assets_{column}", "assets", type_="foreignkey")
    op.drop_table("queue_messages")
    op.drop_index("ix_quality_reports_run_id", table_name="quality_reports")
    op.drop_index("ix_quality_reports_listed", table_name="quality_reports")
    op.drop_index("ix_quality_reports_job_id", table_name="quality_reports")
    op.drop_index("ix_quality_reports_candidate_id", table_name="quality_reports")
    op.drop_index("ix_quality_reports_asset_id", table_name="quality_reports")
    op.drop_table("quality_reports")
    op.drop_table("run_steps")
    op.drop_index("ix_run_candidates_output_asset_id", table_name="run_candidates")
    op.drop_index("ix_run_candidates_final_asset_id", table_name="run_candidates")
    op.drop_table("run_candidates")
    op.drop_index(
        "ix_run_jobs_open", table_name="run_jobs", postgresql_where=sa.text("status IN ('queued', 'running')")
    )
    op.drop_index("ix_run_jobs_final_asset_id", table_name="run_jobs")
    op.drop_table("run_jobs")
    op.drop_index("ix_cost_events_run_id", table_name="cost_events")
    op.drop_index("ix_cost_events_listed", table_name="cost_events")
    op.drop_table("cost_events")
    op.drop_index("ix_asset_links_parent", table_name="asset_links")
    op.drop_index("ix_asset_links_listed", table_name="asset_links")
    op.drop_index("ix_asset_links_child", table_name="asset_links")
    op.drop_table("asset_links")
    op.drop_index(
        "ix_runs_open",
        table_name="runs",
        postgresql_where=sa.text("status IN ('queued', 'running', 'cancelling')"),
    )
    op.drop_index("ix_runs_listed", table_name="runs")
    op.drop_table("runs")
    op.drop_table("project_storage")
    op.drop_index("ix_audit_events_project", table_name="audit_events")
    op.drop_table("audit_events")
    op.drop_index("ix_assets_sha256", table_name="assets")
    op.drop_index("ix_assets_run_id", table_name="assets")
    op.drop_index("ix_assets_listed", table_name="assets")
    op.drop_index("ix_assets_kind", table_name="assets")
    op.drop_index("ix_assets_job_id", table_name="assets")
    op.drop_index("ix_assets_candidate_id", table_name="assets")
    op.drop_table("assets")
    op.drop_index("ix_api_tokens_user", table_name="api_tokens")
    op.drop_index("ix_api_tokens_project", table_name="api_tokens")
    op.drop_table("api_tokens")
    op.drop_index(op.f("ix_projects_owner_user_id"), table_name="projects")
    op.drop_index("ix_projects_listed", table_name="projects")
    op.drop_table("projects")
    op.drop_table("app_users")
