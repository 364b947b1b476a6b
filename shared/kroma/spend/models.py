"""Budgets of projects."""

from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Numeric, text
from sqlalchemy.orm import Mapped, mapped_column

from kroma.db.base import Base, Timestamped


class BudgetPeriod(StrEnum):
    """What a limit holds for; periods begin at midnight UTC."""

    DAY = "day"
    MONTH = "month"
    TOTAL = "total"


class ProjectBudget(Timestamped, Base):
    """How much a project may spend; its row is the lock under which spending is decided."""

    __tablename__ = "project_budgets"
    __table_args__ = (
        CheckConstraint("limit_usd >= 0", name="limit_usd"),
        CheckConstraint("period IN ('day', 'month', 'total')", name="period"),
    )

    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True)
    limit_usd: Mapped[Decimal] = mapped_column(Numeric(18, 6))
    period: Mapped[str]
    warning_levels: Mapped[Any] = mapped_column(default=list, server_default=text("'[]'"))
    """Shares of the limit from which a warning stands, like ``[0.5, 0.8]``, rising."""
