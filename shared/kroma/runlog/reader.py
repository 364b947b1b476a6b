"""Reads run logs of version 2 and of both generations of the original."""

import re
from collections.abc import Iterator
from typing import Any, TypeVar, cast

import msgspec

from kroma.json_depth import refuse_too_deep
from kroma.runlog import current, legacy
from kroma.runlog.entries import RunEntry
from kroma.runlog.errors import RunLogFieldError, RunLogInvalidError
from kroma.runlog.fields import Fields
from kroma.runlog.schema import LOG_VERSION, RunLog

MAX_LOG_BYTES = 256 * 1024 * 1024
"""A log of 1,000 jobs with 4 candidates each has about 15 MiB."""

_PATH = re.compile(r" - at `\$\.?(.*)`$")
_BOM = b"\xef\xbb\xbf"

T = TypeVar("T")


class _Head(msgspec.Struct):
    log_version: Any = None


def read(data: bytes, *, source: str) -> RunEntry:
    """Read a log of any generation; ``source`` is its name for error messages.

    Raises:
        RunLogInvalidError: It is too large, not JSON, or a field has an invalid value.
    """
    data = data.removeprefix(_BOM)
    if _is_current(data, source):
        return current.run_entry(_decoded(data, RunLog, source), source=source)
    return legacy.run_entry(Fields(_decoded(data, dict[str, Any], source), source=source))


def read_log(data: bytes, *, source: str) -> RunLog:
    """Read a log that Kroma wrote.

    Raises:
        RunLogInvalidError: It is too large, not JSON, of another version, or a field is invalid.
    """
    if not _is_current(data, source):
        raise RunLogFieldError(source, "log_version", f"the value must be {LOG_VERSION}")
    return _decoded(data, RunLog, source)


def _is_current(data: bytes, source: str) -> bool:
    if len(data) > MAX_LOG_BYTES:
        raise RunLogInvalidError(source, f"the file has {len(data)} bytes; the limit is {MAX_LOG_BYTES}")
    version = _decoded(data, _Head, source).log_version
    if version is not None and version != LOG_VERSION:
        problem = f"this Kroma reads version {LOG_VERSION}, not {version}"
        raise RunLogFieldError(source, "log_version", problem)
    return version is not None


def _decoded(data: bytes, kind: type[T], source: str) -> T:
    is_first_look = kind is _Head
    try:
        if is_first_look:
            refuse_too_deep(data)
        if is_first_look and b"\\u0000" in data:
            _refuse_nul(msgspec.json.decode(data), source)
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        position = _PATH.search(str(error))
        if position is None or not position.group(1):
            raise RunLogInvalidError(source, _PATH.sub("", str(error))) from error
        raise RunLogFieldError(source, position.group(1), str(error)[: position.start()]) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RunLogInvalidError(source, f"the file is not valid JSON: {error}") from error


def _refuse_nul(value: object, source: str) -> None:
    """Refuse NUL characters, which PostgreSQL cannot store."""
    for field, text in _texts(value, ""):
        if "\0" in text:
            raise RunLogFieldError(source, field, "NUL characters are not allowed")


def _texts(value: object, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, list):
        for position, item in enumerate(cast("list[Any]", value)):
            yield from _texts(item, f"{path}[{position}]")
    elif isinstance(value, dict):
        for key, item in cast("dict[str, Any]", value).items():
            name = key.replace("\0", "\\0")
            position = f"{path}.{name}" if path else name
            yield position, key
            yield from _texts(item, position)
