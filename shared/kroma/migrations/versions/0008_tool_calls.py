"""Provider calls that belong to no project

Revision 0008, after 0007.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Apply."""
    op.alter_column("provider_calls", "project_id", existing_type=sa.Uuid(), nullable=True)


def downgrade() -> None:
    """Take back; calls of tools are of no use to an older Kroma."""
    op.execute("DELETE FROM provider_calls WHERE project_id IS NULL")
    op.alter_column("provider_calls", "project_id", existing_type=sa.Uuid(), nullable=False)
