"""Large answers are kept as files

Revision 0012, after 0011.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0012"
down_revision: str | None = "0011"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Apply; bodies that lie in the table stay there until their week is over."""
    op.add_column("idempotency_keys", sa.Column("body_file", sa.Text(), nullable=True))
    op.add_column("idempotency_keys", sa.Column("body_bytes", sa.BigInteger(), nullable=True))
    op.create_index(
        "ix_idempotency_keys_files",
        "idempotency_keys",
        ["scope", "expires_at"],
        postgresql_where=sa.text("body_file IS NOT NULL"),
    )


def downgrade() -> None:
    """Take back; answers that are files are no longer given again."""
    op.drop_index("ix_idempotency_keys_files", table_name="idempotency_keys")
    op.drop_column("idempotency_keys", "body_bytes")
    op.drop_column("idempotency_keys", "body_file")
