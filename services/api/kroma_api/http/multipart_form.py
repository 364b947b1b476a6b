"""A form with files, read part by part as it arrives; no part of a file stays in memory."""

from collections.abc import AsyncGenerator, AsyncIterator
from http import HTTPStatus
from typing import Any, Final

import msgspec
from litestar import Request
from litestar.exceptions import ClientException
from multipart import (  # pyright: ignore[reportMissingTypeStubs] - it ships none
    MultipartError,
    MultipartSegment,
    PushMultipartParser,
)

from kroma.errors import InvalidRequestError
from kroma.library.names import shown_name
from kroma.texts import NulCharacterError
from kroma_api.http.errors import HttpRuleError

MAX_FILES: Final = 200
MAX_FIELDS: Final = 50
MAX_FIELD_BYTES: Final = 64 * 1024

_Event = MultipartSegment | bytes | bytearray | None


class FormField(msgspec.Struct, frozen=True):
    """A text of the form."""

    name: str
    text: str


class FormFile(msgspec.Struct, frozen=True):
    """A file of the form; its bytes must be read before the next part is asked for."""

    field: str
    name: str
    """As it was sent, fit to be shown; it says nothing about what is inside."""
    chunks: AsyncIterator[bytes]


class MultipartForm:
    """The body of one request."""

    def __init__(self, request: Request[Any, Any, Any], *, max_bytes: int) -> None:
        """Nothing is read yet.

        Raises:
            HttpRuleError: 415, it is no form; 400, its boundary is missing.
        """
        kind, options = request.content_type
        if kind != "multipart/form-data":
            raise HttpRuleError(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                "Send the body as a form: Content-Type: multipart/form-data",
            )
        self._request = request
        self._max_bytes = max_bytes
        try:
            # Names in another charset than UTF-8 are no reason to refuse a picture.
            self._parser = PushMultipartParser(options.get("boundary", ""), header_charset="latin-1")
        except MultipartError as exc:
            raise HttpRuleError(
                HTTPStatus.BAD_REQUEST, "The Content-Type lacks the boundary of a multipart form"
            ) from exc

    async def parts(self) -> AsyncGenerator[FormField | FormFile]:
        """The fields and files in the order they come.

        Raises:
            HttpRuleError: 400, the form is not whole, or has too many parts; 413, it is over the limit.
            InvalidRequestError: A field is no text, or too long.
        """
        events = self._events()
        files = fields = 0
        async for segment in events:
            if not isinstance(segment, MultipartSegment):
                continue
            name = _text_of(segment.name or "").replace("\0", "\\u0000")
            if segment.filename is None:
                fields += 1
                _check_count(fields, MAX_FIELDS, "fields")
                yield FormField(name, await _field_text(events, name))
                continue
            first = await anext(events)
            if first is None and not segment.filename:
                fields += 1  # a browser sends this where no file was chosen
                _check_count(fields, MAX_FIELDS, "fields")
                continue
            files += 1
            _check_count(files, MAX_FILES, "files")
            yield FormFile(name, shown_name(_text_of(segment.filename)), _file_chunks(first, events))

    async def _events(self) -> AsyncGenerator[_Event]:
        try:
            async for chunk in self._request.stream():
                if chunk:
                    for event in self._parser.parse(chunk):
                        yield event
            self._parser.close()
        except MultipartError as exc:
            raise HttpRuleError(
                HTTPStatus.BAD_REQUEST, f"The request body is not a complete form: {exc}"
            ) from exc
        except ClientException as exc:
            if exc.status_code != HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
                raise
            problem = f"The request body is larger than {self._max_bytes} bytes; send fewer files at a time"
            raise HttpRuleError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, problem) from exc


async def _file_chunks(first: _Event, events: AsyncIterator[_Event]) -> AsyncGenerator[bytes]:
    event = first
    while event is not None:
        if isinstance(event, (bytes, bytearray)):
            yield bytes(event)
        event = await anext(events)


async def _field_text(events: AsyncIterator[_Event], name: str) -> str:
    parts: list[bytes] = []
    size = 0
    async for event in events:
        if not isinstance(event, (bytes, bytearray)):
            break
        size += len(event)
        if size > MAX_FIELD_BYTES:
            raise InvalidRequestError(f"Field '{name}' must be at most {MAX_FIELD_BYTES} bytes")
        parts.append(bytes(event))
    try:
        text = b"".join(parts).decode()
    except UnicodeDecodeError as exc:
        raise InvalidRequestError(f"Field '{name}' must be text in UTF-8") from exc
    if "\0" in text:
        raise NulCharacterError(name)
    return text


def _check_count(count: int, limit: int, things: str) -> None:
    if count > limit:
        raise HttpRuleError(
            HTTPStatus.BAD_REQUEST,
            f"The form has more than {limit} {things}; send at most {limit} in one request",
        )


def _text_of(header: str) -> str:
    return header.encode("latin-1", "replace").decode("utf-8", "replace")
