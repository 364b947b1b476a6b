"""Provider accounts of a project."""

from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from kroma.db.base import Base, Timestamped


class ProviderAccount(Timestamped, Base):
    """How a project reaches a provider; its key is (project, code), its secrets are elsewhere."""

    __tablename__ = "provider_accounts"

    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True)
    # Listed by characters: a language would look past dashes and underscores.
    provider_code: Mapped[str] = mapped_column(Text(collation="C"), primary_key=True)
    display_name: Mapped[str]
    account_ref: Mapped[str | None]
    base_url: Mapped[str | None]
    enabled: Mapped[bool] = mapped_column(default=True, server_default=text("true"))
    config_json: Mapped[Any] = mapped_column(default=dict, server_default=text("'{}'"))
