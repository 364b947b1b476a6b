"""Reads the JSON and TOML files of operators and artists, with strict locations and types."""

import asyncio
import math
import os
import tomllib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

import msgspec

from kroma.errors import InvalidRequestError
from kroma.json_depth import refuse_too_deep
from kroma.pipeline.planning.errors import ConfigFileError
from kroma.storage.base import ObjectStore
from kroma.storage.errors import ObjectNotFoundError, StoreError, StoreUnavailableError
from kroma.storage.files import read_file
from kroma.storage.roots import is_kept

MAX_FILE_BYTES: Final = 1024 * 1024
MAX_TOML_BYTES: Final = 64 * 1024
MAX_TOML_LINE: Final = 1000
"""Bytes. The parser takes quadratic time for keys like ``a.a.a``: a line of 1 MiB would take minutes."""
_OPERATORS: Final = "config"
"""The folder of the data directory that every project may use."""
MAX_WHOLE: Final = 2**31 - 1
"""The limit of a PostgreSQL integer column."""


class ConfigFile(msgspec.Struct, frozen=True):
    """A file's absolute path, for messages, and its bytes; None if there is no such file."""

    path: str
    data: bytes | None


class ConfigFiles:
    """The files that may configure one project."""

    def __init__(
        self, data_dir: Path, store: ObjectStore, *, allow_any_root: bool, is_confined: bool
    ) -> None:
        """Set which files a caller may name.

        A confined caller, who has only a project's token, may name only files of the project and of the
        installation's ``config`` folder. Errors do not reveal whether any other file exists.
        """
        self._data_dir = data_dir
        self._store = store
        self._allow_any_root = allow_any_root
        self._is_confined = is_confined
        # If the project is in a bucket, a caller may not name files of this machine.
        self._is_hosted = store.backend == "s3"

    @property
    def of_operator(self) -> Self:
        """The same files, for paths that the operator wrote."""
        return type(self)(self._data_dir, self._store, allow_any_root=self._allow_any_root, is_confined=False)

    async def of_installation(self, *paths: str) -> ConfigFile:
        """The first existing file of the operator, by paths relative to the data directory.

        Raises:
            ConfigFileError: A file lies outside the allowed folders, is too large or cannot be read.
        """
        files = [await self.of_operator.on_disk(path) for path in paths]
        return next((file for file in files if file.data is not None), files[-1])

    async def at_data_dir(self, path: str) -> ConfigFile:
        """A file by its path relative to the data directory; for a bucket's project, as `at_project`.

        Raises:
            ConfigFileError: The file lies outside the allowed folders, is too large or cannot be read.
        """
        if self._is_hosted:
            return await self.at_project(path)
        return await self.on_disk(path)

    async def at_project(self, path: str) -> ConfigFile:
        """A file by its path relative to the project root, or an absolute path where that is allowed.

        Raises:
            ConfigFileError: The file lies outside the allowed folders, is too large or cannot be read.
        """
        try:
            key = self._store.key_of(path)
        except InvalidRequestError as exc:
            if self._is_hosted or not path.startswith("/"):
                raise ConfigFileError(path, exc.message) from exc
            return await self.at_data_dir(path)
        return await self._in_project(f"{self._store.location}/{key}", key)

    async def on_disk(self, path: str) -> ConfigFile:
        """A file of this machine, by an absolute path or one relative to the data directory.

        Raises:
            ConfigFileError: The file lies outside the allowed folders, is too large or cannot be read.
        """
        shown = str(self._data_dir / path)
        if "\0" in path:
            raise ConfigFileError(path, "the path must not contain a NUL character")
        real = await asyncio.to_thread(os.path.realpath, shown)
        if (key := await asyncio.to_thread(self._key_in_project, real)) is not None:
            return await self._in_project(shown, key)
        self._check_location(path, shown, real)
        with _named(shown):
            try:
                data = await asyncio.to_thread(read_file, real, limit_bytes=MAX_FILE_BYTES)
            except ObjectNotFoundError:
                return ConfigFile(shown, None)
        return ConfigFile(shown, data)

    async def _in_project(self, shown: str, key: str) -> ConfigFile:
        # Through the store, which checks that the root belongs to the project.
        with _named(shown):
            try:
                return ConfigFile(shown, await self._store.get(key, limit_bytes=MAX_FILE_BYTES))
            except ObjectNotFoundError:
                return ConfigFile(shown, None)

    def _key_in_project(self, real: str) -> str | None:
        root = os.path.realpath(self._store.location)
        return real[len(root.rstrip("/")) + 1 :] if _is_below(real, root) else None

    def _check_location(self, path: str, shown: str, real: str) -> None:
        """Check the location only, so that an error does not reveal whether the file exists."""
        data_dir = os.path.realpath(self._data_dir)
        if _is_below(real, f"{data_dir}/{_OPERATORS}"):
            return
        if self._is_confined:
            raise ConfigFileError(
                path,
                "the file lies outside the project; a project's token may name only files of the project"
                f" and of the data directory's folder '{_OPERATORS}'",
            )
        if _is_below(real, data_dir):
            if is_kept(os.path.relpath(real, data_dir)):
                raise ConfigFileError(
                    shown, "the file cannot be read: it belongs to Kroma itself or to other projects"
                )
        elif not self._allow_any_root:
            raise ConfigFileError(
                path,
                "the file lies outside the data directory and the project;"
                " move it or set KROMA_ALLOW_ANY_ROOT=1",
            )


def _is_below(path: str, folder: str) -> bool:
    return path.startswith(f"{folder.rstrip('/')}/")


@contextmanager
def _named(path: str) -> Generator[None, None, None]:
    """Raise the store's errors as `ConfigFileError`, except `ObjectNotFoundError`."""
    try:
        yield
    except ObjectNotFoundError:
        raise
    except StoreUnavailableError as exc:
        raise ConfigFileError(path, f"the file cannot be read: {exc.reason}") from exc
    except StoreError as exc:
        raise ConfigFileError(path, f"the file cannot be read: {exc.message}") from exc
    except InvalidRequestError as exc:
        raise ConfigFileError(path, exc.message) from exc


class ConfigObject:
    """An object of a config file, read by field; unknown keys are ignored and null is an error.

    Every reader returns None if the field is absent and raises `ConfigFileError` if it is invalid.
    """

    def __init__(self, path: str, values: dict[str, Any], *, name: str = "") -> None:
        self._path = path
        self._values = values
        self._name = name

    @classmethod
    def of_json(cls, file: ConfigFile) -> Self:
        """The root object of a JSON file.

        Raises:
            ConfigFileError: The file is missing, or not a JSON object.
        """
        if file.data is None:
            raise ConfigFileError(file.path, "the file cannot be read: no such file")
        try:
            refuse_too_deep(file.data)
            value = msgspec.json.decode(file.data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise ConfigFileError(file.path, f"the file is not valid JSON: {exc}") from exc
        return cls._of(file.path, value)

    @classmethod
    def of_toml(cls, file: ConfigFile) -> Self:
        """The root table of a TOML file.

        Raises:
            ConfigFileError: The file is missing, too large or not TOML.
        """
        if file.data is None:
            raise ConfigFileError(file.path, "the file cannot be read: no such file")
        if len(file.data) > MAX_TOML_BYTES:
            raise ConfigFileError(
                file.path, f"the file is larger than {MAX_TOML_BYTES} bytes, the limit for TOML"
            )
        for number, line in enumerate(file.data.splitlines(), start=1):
            if len(line) > MAX_TOML_LINE:
                raise ConfigFileError(file.path, f"line {number} is longer than {MAX_TOML_LINE} bytes")
        try:
            value = tomllib.loads(file.data.decode())
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise ConfigFileError(file.path, f"the file is not valid TOML: {exc}") from exc
        return cls._of(file.path, value)

    @classmethod
    def _of(cls, path: str, value: object) -> Self:
        if not isinstance(value, dict):
            raise ConfigFileError(path, "the root must be an object")
        return cls(path, value)  # pyright: ignore[reportUnknownArgumentType] - JSON and TOML keys are texts

    def has(self, field: str) -> bool:
        return field in self._values

    def fields(self) -> tuple[str, ...]:
        """Every key, in the file's order."""
        return tuple(self._values)

    def any(self, field: str) -> object:
        """The field's value, of any type."""
        return self._values.get(field)

    def section(self, field: str) -> Self:
        """A nested object; empty if absent."""
        value = self._values.get(field, {})
        if not isinstance(value, dict):
            raise self.wrong(field, "an object")
        return type(self)(self._path, value, name=f"{self._name}{field}.")  # pyright: ignore[reportUnknownArgumentType]

    def flag(self, field: str) -> bool | None:
        if field not in self._values:
            return None
        value = self._values[field]
        if not isinstance(value, bool):
            raise self.wrong(field, "true or false")
        return value

    def whole(self, field: str, *, maximum: int = MAX_WHOLE) -> int | None:
        """An integer from 1 to ``maximum``."""
        if field not in self._values:
            return None
        value = self._values[field]
        if type(value) is not int or not 1 <= value <= maximum:
            limit = "" if maximum == MAX_WHOLE else f" and <= {maximum}"
            raise self.wrong(field, f"an integer >= 1{limit}")
        return value

    def number(self, field: str, *, maximum: float = math.inf) -> float | None:
        """A finite number from 0 to ``maximum``."""
        if field not in self._values:
            return None
        value = self._values[field]
        limit = "a non-negative number" if maximum == math.inf else f"a number from 0 to {maximum:g}"
        finite = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < math.inf
        if not finite or value > maximum:
            raise self.wrong(field, limit)
        try:
            return float(value)
        except OverflowError:
            raise self.wrong(field, "a non-negative number") from None

    def text(self, field: str, *, may_be_blank: bool = False) -> str | None:
        """A trimmed text."""
        if field not in self._values:
            return None
        return self._text(field, self._values[field], may_be_blank=may_be_blank)

    def texts(self, field: str) -> tuple[str, ...] | None:
        """An array of trimmed texts, none of them blank."""
        if field not in self._values:
            return None
        values = self._values[field]
        if not isinstance(values, list):
            raise self.wrong(field, "an array of strings")
        return tuple(self._text(f"{field}[{n}]", value) for n, value in enumerate(values))  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]

    def choice(self, field: str, allowed: tuple[str, ...]) -> str | None:
        """One of ``allowed``, in lower case; the file may use any case."""
        text = self.text(field)
        if text is None:
            return None
        if text.lower() not in allowed:
            raise self.wrong(field, f"one of: {', '.join(allowed)}")
        return text.lower()

    def wrong(self, field: str, expected: str) -> ConfigFileError:
        """The error for an invalid field; ``expected`` names the valid values, such as "a string"."""
        return ConfigFileError(self._path, f"field '{self._name}{field}' must be {expected}")

    def _text(self, field: str, value: object, *, may_be_blank: bool = False) -> str:
        if not isinstance(value, str):
            raise self.wrong(field, "a string")
        text = value.strip()
        if not text and not may_be_blank:
            raise self.wrong(field, "a string that is not empty")
        if "\0" in text:  # PostgreSQL cannot store it
            raise self.wrong(field, "a string without NUL characters")
        return text
