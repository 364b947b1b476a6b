"""Pages of lists.

A cursor holds the order key of the last row that was shown. The next page begins behind that key,
which an index finds at once: page 10,000 costs what page 1 does, and rows that come or go between
two pages move nothing.
"""

import base64
import binascii
import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Final, NamedTuple, TypeVar
from uuid import UUID

import msgspec
from msgspec import Meta
from sqlalchemy import BigInteger, ColumnElement, Select, and_, or_, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from kroma.errors import InvalidRequestError

_DIGEST_BYTES: Final = 9
_SHAPES: Final[dict[type, Any]] = {
    # What PostgreSQL can compare; a cursor comes from outside.
    datetime: Annotated[datetime, Meta(tz=True)],
    UUID: UUID,
    str: Annotated[str, Meta(pattern=r"\A[^\x00]*\Z")],
    int: Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)],
}
_BIG_INTEGER: Final[Any] = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]

Row = TypeVar("Row")


class WrongCursorError(InvalidRequestError):
    """The cursor was not given out, or by another list."""

    def __init__(self) -> None:
        super().__init__("Field 'after' must be the 'next' of an earlier reply of the same list")


class Window(NamedTuple):
    """Which part of a list is wanted."""

    limit: int | None = None
    """Rows at most, at least 1; None is all."""
    after: str | None = None
    """The cursor of the page before; None is the beginning."""


EVERYTHING: Final = Window()


class Page(list[Row]):
    """The rows of one page."""

    def __init__(self, rows: Sequence[Row] = (), *, following: str | None = None) -> None:
        super().__init__(rows)
        self.following = following
        """The cursor of the next page; None at the end."""


class SortKey(NamedTuple):
    """One column of an order."""

    attribute: str
    """Its name in the row."""
    column: ColumnElement[Any]
    is_descending: bool
    shape: Any
    """What its value must be in a cursor."""

    @property
    def clause(self) -> ColumnElement[Any]:
        """As ``ORDER BY`` takes it."""
        return self.column.desc() if self.is_descending else self.column


def _shape(column: InstrumentedAttribute[Any]) -> Any:  # noqa: ANN401 - a type form
    return _BIG_INTEGER if isinstance(column.type, BigInteger) else _SHAPES[column.type.python_type]


def ascending(column: InstrumentedAttribute[Any]) -> SortKey:
    """From small to large."""
    return SortKey(column.key, column.expression, is_descending=False, shape=_shape(column))


def descending(column: InstrumentedAttribute[Any]) -> SortKey:
    """From large to small."""
    return SortKey(column.key, column.expression, is_descending=True, shape=_shape(column))


class ListOrder:
    """A total order: no two rows of the list share all of its columns."""

    def __init__(self, name: str, *keys: SortKey) -> None:
        self._name = name
        self._keys = keys
        self._decoder = msgspec.msgpack.Decoder(tuple.__class_getitem__(tuple(key.shape for key in keys)))
        self.clauses = tuple(key.clause for key in keys)
        """As ``ORDER BY`` takes them."""

    async def page(
        self, session: AsyncSession, statement: Select[Row], window: Window, *, scope: object = ""
    ) -> Page[Row]:
        """The rows of ``statement`` in this order, within the window.

        Args:
            session: The transaction to read in.
            statement: What to list.
            window: Which part.
            scope: Of what this is a list; a cursor of another scope is refused.

        Raises:
            WrongCursorError: The window's cursor is not one of this list.
        """
        statement = statement.order_by(*self.clauses)
        if window.after is not None:
            statement = statement.where(self._behind(self._position(window.after, scope)))
        if window.limit is None:
            return Page((await session.scalars(statement)).all())
        # One more than wanted tells whether there is a next page.
        rows = (await session.scalars(statement.limit(window.limit + 1))).all()
        if len(rows) <= window.limit:
            return Page(rows)
        return Page(rows[: window.limit], following=self._cursor(rows[window.limit - 1], scope))

    def _cursor(self, row: object, scope: object) -> str:
        packed = msgspec.msgpack.encode([getattr(row, key.attribute) for key in self._keys])
        return base64.urlsafe_b64encode(self._digest(packed, scope) + packed).decode().rstrip("=")

    def _position(self, cursor: str, scope: object) -> tuple[Any, ...]:
        try:
            raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
            digest, packed = raw[:_DIGEST_BYTES], raw[_DIGEST_BYTES:]
            position = self._decoder.decode(packed)
        except (binascii.Error, msgspec.DecodeError, ValueError) as exc:
            raise WrongCursorError from exc
        if digest != self._digest(packed, scope):
            raise WrongCursorError
        return position

    def _digest(self, packed: bytes, scope: object) -> bytes:
        # It tells lists apart; it is no secret, since a forged position shows nothing of another list.
        place = f"{self._name}\n{scope}\n".encode()
        return hashlib.blake2s(place + packed, digest_size=_DIGEST_BYTES).digest()

    def _behind(self, position: tuple[Any, ...], start: int = 0) -> ColumnElement[bool]:
        """``(a, b) < (x, y)`` where columns run one way, so that one range of the index answers it."""
        end, is_descending = start + 1, self._keys[start].is_descending
        while end < len(self._keys) and self._keys[end].is_descending is is_descending:
            end += 1
        columns = tuple_(*(key.column for key in self._keys[start:end]))
        values = tuple_(*position[start:end])
        beyond = columns < values if is_descending else columns > values
        if end == len(self._keys):
            return beyond
        up_to = columns <= values if is_descending else columns >= values
        return and_(up_to, or_(beyond, self._behind(position, end)))
