"""Scopes of tokens

Revision 0011, after 0010.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0011"
down_revision: str | None = "0010"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Apply; tokens that exist keep all rights."""
    op.add_column("api_tokens", sa.Column("scopes", postgresql.ARRAY(sa.Text()), nullable=True))
    op.create_check_constraint(
        op.f("ck_api_tokens_scopes"),
        "api_tokens",
        "scopes <@ ARRAY['read', 'review', 'create', 'spend', 'storage', 'secrets', 'admin']"
        " AND cardinality(scopes) > 0",
    )


def downgrade() -> None:
    """Take back; tokens that could not do everything are revoked, since they would be able to."""
    op.execute("UPDATE api_tokens SET revoked_at = clock_timestamp() WHERE scopes IS NOT NULL AND revoked_at IS NULL")
    op.drop_constraint(op.f("ck_api_tokens_scopes"), "api_tokens", type_="check")
    op.drop_column("api_tokens", "scopes")
