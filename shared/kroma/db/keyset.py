"""Pages of lists.

A cursor holds the order key of the last row that was shown. The next page begins behind that key,
which an index finds at once: page 10,000 costs what page 1 does, and rows that come or go between
two pages move nothing.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any, Final, Generic, NamedTuple, TypeVar
from uuid import UUID

import msgspec
from msgspec import Meta
from sqlalchemy import BigInteger, ColumnElement, and_, bindparam, literal_column, or_, tuple_
from sqlalchemy.orm import InstrumentedAttribute

from kroma.db.reader import Query, Reader, RowMapper
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

_POSITION: Final = ("after_1", "after_2", "after_3")
"""Names of a cursor's values in the statements."""

_STATEMENTS: Final = 100
"""Compiled statements per list; pages of many lengths would otherwise fill the memory."""

Row = TypeVar("Row")


class WrongCursorError(InvalidRequestError):
    """The cursor was not given out, or by another list."""

    text = "Field 'after' must be the 'next' of an earlier reply of the same list"


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


class Listing(Generic[Row]):
    """A list of a table's rows in a total order: no two rows share all columns of the order.

    Its statements are compiled once for each set of filters and length of page.
    """

    def __init__(
        self,
        model: type[Row],
        *order: SortKey,
        of: InstrumentedAttribute[UUID] | InstrumentedAttribute[UUID | None] | None = None,
        filters: Mapping[str, ColumnElement[bool]] | None = None,
        without: Sequence[InstrumentedAttribute[Any]] = (),
    ) -> None:
        """Describe a list.

        Args:
            model: The table.
            order: The columns to order by.
            of: The column that says of what this is a list; None lists the whole table.
            filters: Conditions by the name of the value that each takes.
            without: Columns that the rows do not have.
        """
        self._name = model.__name__
        self._order = order
        self._of = of
        self._filters = filters or {}
        self._rows = RowMapper(model, without=without)
        self._query = lru_cache(_STATEMENTS)(self._compiled)
        self._decoder = msgspec.msgpack.Decoder(tuple.__class_getitem__(tuple(key.shape for key in order)))

    async def page(
        self, reader: Reader, window: Window = EVERYTHING, *, of: UUID | None = None, **wanted: object
    ) -> Page[Row]:
        """The rows within the window for which the filters hold.

        Args:
            of: Of what to list; a cursor of another one's list is refused.
            wanted: The filters' values; None filters nothing.

        Raises:
            WrongCursorError: The window's cursor is not one of this list.
        """
        given = {name: value for name, value in wanted.items() if value is not None}
        # One more than wanted tells whether there is a next page.
        limit = None if window.limit is None else window.limit + 1
        query = self._query(tuple(given), limit, is_after=window.after is not None)
        if window.after is not None:
            given |= zip(_POSITION, self._position(window.after, of), strict=False)
        rows = await query.all(reader, **given, of=of)
        if limit is None or len(rows) < limit:
            return Page(rows)
        del rows[-1]
        return Page(rows, following=self._cursor(rows[-1], of))

    def _compiled(self, filters: tuple[str, ...], limit: int | None, *, is_after: bool) -> Query[Row]:
        statement = self._rows.statement.where(*(self._filters[name] for name in filters))
        statement = statement.order_by(*(key.clause for key in self._order))
        if self._of is not None:
            statement = statement.where(self._of == bindparam("of"))
        if is_after:
            position = zip(_POSITION, self._order, strict=False)
            statement = statement.where(
                self._behind(tuple(bindparam(name, type_=key.column.type) for name, key in position))
            )
        if limit is not None:
            # Not a parameter: for a limit that it does not know, PostgreSQL plans the statement every time.
            statement = statement.limit(literal_column(str(limit)))
        return Query(self._rows, statement)

    def _cursor(self, row: object, of: UUID | None) -> str:
        packed = msgspec.msgpack.encode([getattr(row, key.attribute) for key in self._order])
        return base64.urlsafe_b64encode(self._digest(packed, of) + packed).decode().rstrip("=")

    def _position(self, cursor: str, of: UUID | None) -> tuple[Any, ...]:
        try:
            raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
            digest, packed = raw[:_DIGEST_BYTES], raw[_DIGEST_BYTES:]
            position = self._decoder.decode(packed)
        except (binascii.Error, msgspec.DecodeError, ValueError) as exc:
            raise WrongCursorError from exc
        if digest != self._digest(packed, of):
            raise WrongCursorError
        return position

    def _digest(self, packed: bytes, of: UUID | None) -> bytes:
        # It tells lists apart; it is no secret, since a forged position shows nothing of another list.
        position = f"{self._name}\n{'' if of is None else of}\n".encode()
        return hashlib.blake2s(position + packed, digest_size=_DIGEST_BYTES).digest()

    def _behind(self, position: tuple[ColumnElement[Any], ...], start: int = 0) -> ColumnElement[bool]:
        """``(a, b) < (x, y)`` where columns run one way, so that one range of the index answers it."""
        end, is_descending = start + 1, self._order[start].is_descending
        while end < len(self._order) and self._order[end].is_descending is is_descending:
            end += 1
        columns = tuple_(*(key.column for key in self._order[start:end]))
        values = tuple_(*position[start:end])
        beyond = columns < values if is_descending else columns > values
        if end == len(self._order):
            return beyond
        up_to = columns <= values if is_descending else columns >= values
        return and_(up_to, or_(beyond, self._behind(position, end)))
