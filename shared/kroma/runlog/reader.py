"""Run logs from bytes: version 2, and both generations of the original."""

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
    """What the log says, whichever program wrote it.

    Args:
        data: The whole file.
        source: The file's name, for messages.

    Raises:
        RunLogInvalidError: It is too large, no JSON, or a field has a value that cannot be kept.
    """
    data = data.removeprefix(_BOM)
    if _is_current(data, source):
        return current.run_entry(_decoded(data, RunLog, source), source=source)
    return legacy.run_entry(Fields(_decoded(data, dict[str, Any], source), source=source))


def read_log(data: bytes, *, source: str) -> RunLog:
    """A log that Kroma wrote.

    Raises:
        RunLogInvalidError: It is too large, no JSON, of another version, or a field is wrong.
    """
    if not _is_current(data, source):
        raise RunLogFieldError(source, "log_version", f"must be {LOG_VERSION}")
    return _decoded(data, RunLog, source)


def _is_current(data: bytes, source: str) -> bool:
    if len(data) > MAX_LOG_BYTES:
        raise RunLogInvalidError(source, f"has {len(data)} bytes; the limit is {MAX_LOG_BYTES}")
    version = _decoded(data, _Head, source).log_version
    if version is not None and version != LOG_VERSION:
        raise RunLogFieldError(
            source, "log_version", f"is {version}, and this Kroma reads up to {LOG_VERSION}"
        )
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
            raise RunLogInvalidError(source, f"is invalid: {_PATH.sub('', str(error))}") from error
        problem = f"is wrong: {str(error)[: position.start()]}"
        raise RunLogFieldError(source, position.group(1), problem) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RunLogInvalidError(source, f"is not valid JSON: {error}") from error


def _refuse_nul(value: object, source: str) -> None:
    """PostgreSQL keeps every character but this one."""
    for field, text in _texts(value, ""):
        if "\0" in text:
            raise RunLogFieldError(source, field, "contains a NUL character")


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
