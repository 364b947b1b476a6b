"""Reads without entities: rows as plain values, straight from the driver."""

from collections.abc import Iterable, Sequence
from inspect import isfunction
from typing import Any, Generic, Self, TypeVar, cast
from uuid import UUID

import msgspec
from sqlalchemy import JSON, ColumnElement, Select, Text, bindparam, inspect, select
from sqlalchemy import cast as sql_cast
from sqlalchemy.orm import InstrumentedAttribute

from kroma.db.prepared import Prepared

Model = TypeVar("Model")


class Reader:
    """One connection for a few reads, each of which sees what is committed when it runs."""

    def __init__(self, driver: Any) -> None:  # noqa: ANN401 - asyncpg ships no types
        self._driver = driver

    async def records(self, statement: Prepared, **values: object) -> list[Any]:
        """The driver's rows, with columns by place and by name."""
        return await self._driver.fetch(statement.sql, *statement.parameters(values))

    async def value(self, statement: Prepared, **values: object) -> Any:  # noqa: ANN401 - of whatever column
        """The first column of the first row; None without a row."""
        return await self._driver.fetchval(statement.sql, *statement.parameters(values))


class RowMapper(Generic[Model]):
    """Rows of a table as frozen values with the attributes and methods of its model.

    No session knows them. Relations and columns that were left out are missing, and a JSON column
    holds the JSON itself (`msgspec.Raw`), since a reply passes it on as it is.
    """

    def __init__(self, model: type[Model], *, without: Iterable[InstrumentedAttribute[Any]] = ()) -> None:
        left_out = {column.key for column in without}
        keys = [column.key for column in inspect(model).column_attrs if column.key not in left_out]
        columns: list[ColumnElement[Any]] = [getattr(model, key) for key in keys]
        self._json_columns = [
            position for position, column in enumerate(columns) if isinstance(column.type, JSON)
        ]
        for position in self._json_columns:
            # Under a label of its own: conditions mean the column.
            columns[position] = sql_cast(columns[position], Text).label(f"{keys[position]}_text")
        self.statement: Select[Any] = select(*columns)
        """All of the table's rows."""
        methods = {
            name: value
            for name, value in vars(model).items()
            if isfunction(value) and not name.startswith("_")
        }
        self._row = msgspec.defstruct(
            model.__name__, [(key, Any) for key in keys], namespace=methods, frozen=True, gc=False
        )

    def of(self, records: Iterable[Sequence[Any]]) -> list[Model]:
        """Rows out of what ``statement`` gave."""
        rows = [self._row(*self._values(record)) for record in records]
        return cast("list[Model]", rows)

    def _values(self, record: Sequence[Any]) -> Sequence[Any]:
        if not self._json_columns:
            return record
        values = [*record]
        for position in self._json_columns:
            text = values[position]
            values[position] = None if text is None or text == "null" else msgspec.Raw(text)
        return values


class Query(Generic[Model]):
    """A statement whose rows are of one table."""

    def __init__(self, rows: RowMapper[Model], statement: Select[Any]) -> None:
        self._rows = rows
        self._statement = Prepared(statement)

    @classmethod
    def where(cls, model: type[Model], *conditions: ColumnElement[bool]) -> Self:
        """The rows of the table for which the conditions hold."""
        rows = RowMapper(model)
        return cls(rows, rows.statement.where(*conditions))

    async def all(self, reader: Reader, **values: object) -> list[Model]:
        return self._rows.of(await reader.records(self._statement, **values))

    async def first(self, reader: Reader, **values: object) -> Model | None:
        rows = await self.all(reader, **values)
        return rows[0] if rows else None


def equals(column: InstrumentedAttribute[Any] | InstrumentedAttribute[UUID]) -> ColumnElement[bool]:
    """Whether the column holds the value that a reader gives under the column's name."""
    return column == bindparam(column.key, type_=column.type)
