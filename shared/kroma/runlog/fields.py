"""Careful reading of JSON that another program wrote: every refusal names its field."""

import math
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, cast

from kroma.runlog.errors import RunLogFieldError

_MAX_COUNT = 2**31 - 1


class Fields:
    """One JSON object of a log, and where it stands."""

    def __init__(self, value: dict[str, Any], *, source: str, path: str = "") -> None:
        self.value = value
        self._source = source
        self._path = path

    def path(self, name: str) -> str:
        """Where field ``name`` stands in the log, like ``jobs[0].status``."""
        return f"{self._path}.{name}" if self._path else name

    def refuse(self, name: str, problem: str) -> RunLogFieldError:
        return RunLogFieldError(self._source, self.path(name), problem)

    def text(self, *names: str) -> str | None:
        """The first of ``names`` with a text that is not blank, as it stands.

        Raises:
            RunLogFieldError: It is neither text nor null.
        """
        for name in names:
            value = self.value.get(name)
            if value is None:
                continue
            if not isinstance(value, str):
                raise self.refuse(name, "must be a text")
            if value.strip():
                return value
        return None

    def count(self, name: str) -> int | None:
        """A whole JSON number; anything else counts as absent.

        Raises:
            RunLogFieldError: The number does not fit in 32 bits.
        """
        value = self.value.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
            return None
        if abs(value) > _MAX_COUNT:
            raise self.refuse(name, "is out of range")
        return int(value)

    def number(self, *names: str, limit: int = 10**12) -> Decimal | None:
        """The first of ``names`` with a JSON number or a numeric text; anything else counts as absent.

        Raises:
            RunLogFieldError: The number reaches ``limit``, above or below zero.
        """
        for name in names:
            value = self.value.get(name)
            if isinstance(value, bool) or not isinstance(value, int | float | str):
                continue
            try:
                number = float(value)
            except ValueError:
                continue
            except OverflowError:
                number = math.inf
            if math.isnan(number):
                continue
            if abs(number) >= limit:
                raise self.refuse(name, "is out of range")
            return Decimal(str(number))
        return None

    def mapping(self, name: str) -> "Fields | None":
        """An object; anything else counts as absent."""
        value = self.value.get(name)
        if not isinstance(value, dict):
            return None
        return Fields(cast("dict[str, Any]", value), source=self._source, path=self.path(name))

    def objects(self, name: str) -> "list[Fields]":
        """An array of objects; absent and null are empty.

        Raises:
            RunLogFieldError: It is no array, or one of its items is no object.
        """
        found: list[Fields] = []
        for item_name, item in self._items(name):
            if not isinstance(item, dict):
                raise self.refuse(item_name, "must be an object")
            path = self.path(item_name)
            found.append(Fields(cast("dict[str, Any]", item), source=self._source, path=path))
        return found

    def texts(self, name: str) -> list[str]:
        """An array of texts; absent and null are empty.

        Raises:
            RunLogFieldError: It is no array, or one of its items is no text.
        """
        found: list[str] = []
        for item_name, item in self._items(name):
            if not isinstance(item, str):
                raise self.refuse(item_name, "must be a text")
            found.append(item)
        return found

    def _items(self, name: str) -> Iterator[tuple[str, Any]]:
        value = self.value.get(name)
        if value is None:
            return
        if not isinstance(value, list):
            raise self.refuse(name, "must be an array")
        for position, item in enumerate(cast("list[Any]", value)):
            yield f"{name}[{position}]", item
