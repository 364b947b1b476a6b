"""Roots of projects, registered and disjoint

Revision 0010, after 0009.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0010"
down_revision: str | None = "0009"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_FUNCTIONS = (
    # A root is taken where another project has it, a folder around it or one in it. What is below a folder
    # sorts between "folder/" and "folder0", since "0" comes after "/".
    """
    CREATE FUNCTION project_root_is_taken(root text, project uuid) RETURNS boolean LANGUAGE plpgsql AS $$
    DECLARE
        wanted text := lower(normalize(root));
        names text[] := string_to_array(wanted, '/');
        around text[] := ARRAY(
            SELECT array_to_string(names[1:n], '/') FROM generate_series(1, cardinality(names)) AS n
        );
    BEGIN
        RETURN EXISTS (SELECT FROM project_roots WHERE project_id <> project AND folded = ANY (around))
            OR EXISTS (
                SELECT FROM project_roots
                WHERE project_id <> project AND folded ~>=~ (wanted || '/') AND folded ~<~ (wanted || '0')
            );
    END
    $$
    """,
    """
    CREATE FUNCTION keep_project_roots_disjoint() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        -- Of two at once, the second sees the row of the first.
        PERFORM pg_advisory_xact_lock(7305110215);
        IF NOT NEW.contested AND project_root_is_taken(NEW.path, NEW.project_id) THEN
            RAISE EXCEPTION 'the root overlaps that of another project'
            USING ERRCODE = 'exclusion_violation', CONSTRAINT = 'ex_project_roots_path',
                TABLE = 'project_roots';
        END IF;
        RETURN NEW;
    END
    $$
    """,
    """
    CREATE FUNCTION keep_real_root_registered() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'UPDATE'
            AND (NEW.local_base_dir, NEW.local_project_root)
                IS DISTINCT FROM (OLD.local_base_dir, OLD.local_project_root)
            AND NEW.local_real_root IS NOT DISTINCT FROM OLD.local_real_root
        THEN
            NEW.local_real_root := NULL;
        END IF;
        IF NEW.local_real_root IS NOT NULL AND NOT EXISTS (
            SELECT FROM project_roots
            WHERE project_id = NEW.project_id AND NOT contested
                AND (NEW.local_real_root = path OR starts_with(NEW.local_real_root, path || '/'))
        ) THEN
            RAISE EXCEPTION 'the root is not registered for the project'
            USING ERRCODE = 'exclusion_violation', CONSTRAINT = 'ex_project_storage_local_real_root',
                TABLE = 'project_storage';
        END IF;
        RETURN NEW;
    END
    $$
    """,
)
_TRIGGERS = (
    """
    CREATE TRIGGER project_roots_disjoint
    BEFORE INSERT OR UPDATE OF project_id, path, contested ON project_roots
    FOR EACH ROW EXECUTE FUNCTION keep_project_roots_disjoint()
    """,
    """
    CREATE TRIGGER real_root_registered
    BEFORE INSERT OR UPDATE OF project_id, local_base_dir, local_project_root, local_real_root
    ON project_storage
    FOR EACH ROW EXECUTE FUNCTION keep_real_root_registered()
    """,
)


def upgrade() -> None:
    """Apply; services register the roots that there are when they start, since only they see the disk."""
    op.create_table(
        "project_roots",
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        # Some disks tell neither case nor composition apart.
        sa.Column("folded", sa.Text(), sa.Computed("lower(normalize(path))", persisted=True), nullable=False),
        sa.Column("contested", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_project_roots")),
    )
    op.create_index("ix_project_roots_project_id", "project_roots", ["project_id"])
    op.create_index(
        "ix_project_roots_folded",
        "project_roots",
        ["folded"],
        postgresql_ops={"folded": "text_pattern_ops"},
    )
    op.add_column("project_storage", sa.Column("local_real_root", sa.Text(), nullable=True))
    for statement in (*_FUNCTIONS, *_TRIGGERS):
        op.execute(statement)


def downgrade() -> None:
    """Take back; where projects keep their files stays as it is."""
    op.execute("DROP TRIGGER real_root_registered ON project_storage")
    op.drop_column("project_storage", "local_real_root")
    op.drop_table("project_roots")
    for name in (
        "keep_real_root_registered()",
        "keep_project_roots_disjoint()",
        "project_root_is_taken(text, uuid)",
    ):
        op.execute(f"DROP FUNCTION {name}")
