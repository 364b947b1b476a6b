"""What every table shares: naming, types, ids and stamps."""

from datetime import UTC, datetime
from typing import Any, ClassVar
from uuid import UUID, uuid4

from sqlalchemy import DateTime, MetaData, Text, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


def utc_now() -> datetime:
    """The current time, aware, with microseconds: lists order by them, replies show seconds."""
    return datetime.now(UTC)


class Base(DeclarativeBase):
    """Root of every mapped class; constraint names follow one pattern, so migrations can name them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: Text(),
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB(),
        Any: JSONB(),
    }


class Identified:
    """A random primary key, made here so that a caller knows it before the row is written."""

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)


class Created:
    """When the row came to be; ``clock_timestamp`` keeps rows of one transaction apart."""

    created_at: Mapped[datetime] = mapped_column(default=utc_now, server_default=func.clock_timestamp())


class Timestamped(Created):
    """Created and last changed."""

    updated_at: Mapped[datetime] = mapped_column(
        default=utc_now, onupdate=utc_now, server_default=func.clock_timestamp()
    )
