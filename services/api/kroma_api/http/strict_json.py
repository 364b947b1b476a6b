"""Request bodies by the contract's rules (1.3, 1.5), which are stricter than Litestar's.

Litestar would read ``"2"`` as the number 2 and take any content type. Here a body is JSON of
exactly the declared types, or a clean refusal: 415 another content type, 400 not JSON, 422 the
wrong shape, 400 a NUL, which PostgreSQL cannot store.
"""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final, Protocol, TypeVar, cast, runtime_checkable

import msgspec
from litestar import Request

from kroma.aside import LARGE_BYTES, aside
from kroma.auth.service import Caller
from kroma.bootstrap.errors import Problem
from kroma.json_depth import refuse_too_deep
from kroma.texts import NulCharacterError
from kroma_api.http.errors import HttpRuleError

_NUL_ESCAPE: Final = b"\\u0000"

Shape = TypeVar("Shape")


@runtime_checkable
class TellsProblems(Protocol):
    """A kind of body that can tell everything that is wrong with one, not only the first thing."""

    @classmethod
    def problems(cls, body: object) -> Sequence[Problem]:
        """What has a wrong type in decoded JSON."""
        ...


class StrictRequest(Request[Caller, Any, Any]):
    """A request whose JSON body is decoded straight into the handler's ``data`` type."""

    __slots__ = ()

    async def body(self) -> bytes:
        """The raw body; an absent one counts as ``{}``, so every field of it is absent."""
        return await super().body() or b"{}"

    async def json(self) -> object:
        """The decoded ``data`` of the handler.

        Raises:
            HttpRuleError: The body is not JSON, has the wrong shape or another content type.
            NulCharacterError: A text in it holds a NUL.
        """
        raw = await super().body()
        if raw and not _is_json(self.content_type[0]):
            raise HttpRuleError(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Send the body with Content-Type: application/json"
            )
        field = self.route_handler.parsed_data_field
        shape: type[object] = object if field is None else field.annotation
        if len(raw) <= LARGE_BYTES:
            return decode(raw or b"{}", shape)
        return await aside(len(raw), decode, raw, shape)


def _is_json(media_type: str) -> bool:
    lowered = media_type.strip().lower()
    return lowered == "application/json" or (lowered.startswith("application/") and lowered.endswith("+json"))


def decode(raw: bytes, shape: type[Shape]) -> Shape:
    """``raw`` as an instance of ``shape``, strictly.

    Raises:
        HttpRuleError: 400 when it is not JSON, 422 when it has another shape.
        NulCharacterError: A text in it holds a NUL.
    """
    try:
        refuse_too_deep(raw)
        decoded = msgspec.json.decode(raw, type=shape)
        if _NUL_ESCAPE in raw:
            _refuse_nul(msgspec.json.decode(raw))
    except msgspec.ValidationError as exc:
        problems = _problems(raw, shape)
        text = problems[0].message if problems else _shape_problem(str(exc))
        raise HttpRuleError(HTTPStatus.UNPROCESSABLE_ENTITY, text, problems=problems) from exc
    except RecursionError as exc:
        raise HttpRuleError(HTTPStatus.BAD_REQUEST, "The request body is nested too deeply") from exc
    # UnicodeDecodeError is a ValueError beside msgspec's own.
    except (msgspec.DecodeError, ValueError) as exc:
        raise HttpRuleError(HTTPStatus.BAD_REQUEST, "The request body is not valid JSON") from exc
    return decoded


def _problems(raw: bytes, shape: type[Any]) -> Sequence[Problem]:
    if not isinstance(shape, TellsProblems):
        return ()
    try:
        return shape.problems(msgspec.json.decode(raw))
    except (ValueError, RecursionError):  # behind the first wrong type it is not even JSON
        return ()


def _shape_problem(msgspec_text: str) -> str:
    problem, _, slot = msgspec_text.partition(" - at `$")
    problem = problem.replace("`", "")
    field = slot.rstrip("`").removeprefix(".")
    return f"Field '{field}': {problem}" if field else f"Request body: {problem}"


def _refuse_nul(value: object, field: str = "") -> None:
    match value:
        case str() if "\0" in value:
            raise NulCharacterError(field)
        case dict():
            for key, inner in cast("dict[str, object]", value).items():
                slot = f"{field}.{key}" if field else key
                _refuse_nul(key, slot.replace("\0", "\\u0000"))
                _refuse_nul(inner, slot)
        case list():
            for index, inner in enumerate(cast("list[object]", value)):
                _refuse_nul(inner, f"{field}[{index}]")
        case _:
            return
