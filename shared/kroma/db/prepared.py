"""Core statements compiled once, for the few paths where SQLAlchemy costs more than the statement."""

from collections.abc import Mapping
from typing import cast

import msgspec
from sqlalchemy.dialects.postgresql import asyncpg
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import CompilerElement

_encoder = msgspec.json.Encoder()


class Prepared:
    """A statement as text, and the order of its parameters; ``Database.fetch`` runs it.

    Columns with a default in Python are parameters too: nothing here would compute it.
    Literals of the statement keep the values it was written with.
    """

    def __init__(self, statement: CompilerElement) -> None:
        compiled = cast(
            "SQLCompiler",
            statement.compile(dialect=asyncpg.dialect()),
        )
        self.sql = str(compiled)
        self._names = tuple(compiled.positiontup or ())
        self._literals = {
            name: value
            for name, value in compiled.construct_params(_check=False).items()
            if value is not None
        }

    def parameters(self, values: Mapping[str, object]) -> tuple[object, ...]:
        """The values as the driver takes them: dicts and lists as ``jsonb``, tuples and sets as arrays."""
        return tuple(
            _as_driver_takes(values[name] if name in values else self._literals[name]) for name in self._names
        )


def _as_driver_takes(value: object) -> object:
    return _encoder.encode(value).decode() if isinstance(value, (dict, list)) else value
