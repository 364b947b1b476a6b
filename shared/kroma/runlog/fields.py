"""Reads JSON that another program wrote; every error names its field."""

import math
from decimal import Decimal
from typing import Any, TypeVar, cast, get_origin

from kroma.runlog.errors import RunLogFieldError

_MAX_COUNT = 2**31 - 1

T = TypeVar("T")


class Fields:
    """One JSON object of a log."""

    def __init__(self, value: dict[str, Any], *, source: str, path: str = "") -> None:
        self.value = value
        self._source = source
        self._path = path

    def path(self, name: str) -> str:
        """The position of field ``name`` in the log, like ``jobs[0].status``."""
        return f"{self._path}.{name}" if self._path else name

    def refuse(self, name: str, problem: str) -> RunLogFieldError:
        return RunLogFieldError(self._source, self.path(name), problem)

    def text(self, *names: str) -> str | None:
        """The first nonblank text among ``names``.

        Raises:
            RunLogFieldError: A value is neither text nor null.
        """
        for name in names:
            value = self.value.get(name)
            if value is None:
                continue
            if not isinstance(value, str):
                raise self.refuse(name, "the value must be text")
            if value.strip():
                return value
        return None

    def count(self, name: str) -> int | None:
        """A whole number; anything else counts as absent.

        Raises:
            RunLogFieldError: The number does not fit in 32 bits.
        """
        value = self.value.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
            return None
        if abs(value) > _MAX_COUNT:
            raise self.refuse(name, f"the number must be from -{_MAX_COUNT} to {_MAX_COUNT}")
        return int(value)

    def number(self, *names: str, limit: int = 10**12) -> Decimal | None:
        """The first number or numeric text among ``names``; anything else counts as absent.

        Raises:
            RunLogFieldError: The number's absolute value is not below ``limit``.
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
                raise self.refuse(name, f"the number must be between -{limit} and {limit}")
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
            RunLogFieldError: The value is not an array of objects.
        """
        return [
            Fields(item, source=self._source, path=self.path(f"{name}[{position}]"))
            for position, item in enumerate(self._items(name, dict[str, Any], "an object"))
        ]

    def texts(self, name: str) -> list[str]:
        """An array of texts; absent and null are empty.

        Raises:
            RunLogFieldError: The value is not an array of texts.
        """
        return self._items(name, str, "text")

    def _items(self, name: str, kind: type[T], kind_name: str) -> list[T]:
        value = self.value.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.refuse(name, "the value must be an array")
        items = cast("list[T]", value)
        for position, item in enumerate(items):
            if not isinstance(item, get_origin(kind) or kind):
                raise self.refuse(f"{name}[{position}]", f"the value must be {kind_name}")
        return items
