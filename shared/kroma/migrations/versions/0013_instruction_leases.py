"""Instructions carry the columns of every lease

Revision 0013, after 0012.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0013"
down_revision: str | None = "0012"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_RENAMED = {"attempts": "attempt", "locked_by": "lease_owner", "next_attempt_at": "available_at"}


def upgrade() -> None:
    """Apply; nobody read when a lease began."""
    for old, new in _RENAMED.items():
        op.alter_column("agent_instructions", old, new_column_name=new)
    op.drop_column("agent_instructions", "locked_at")


def downgrade() -> None:
    """Take back; when a lease began is unknown."""
    op.add_column("agent_instructions", sa.Column("locked_at", sa.DateTime(timezone=True), nullable=True))
    for old, new in _RENAMED.items():
        op.alter_column("agent_instructions", new, new_column_name=old)
