"""The live workers; each worker's lease renewer keeps its row up to date."""

from datetime import datetime

from sqlalchemy import func, text
from sqlalchemy.orm import Mapped, mapped_column

from kroma.db.base import Base


class WorkerRow(Base):
    """One worker process; gone when it stops, unseen when it was killed."""

    __tablename__ = "workers"

    name: Mapped[str] = mapped_column(primary_key=True)
    """As on its leases."""
    host: Mapped[str]
    pid: Mapped[int]
    version: Mapped[str]
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    jobs: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    """Jobs it held when it was last seen."""
