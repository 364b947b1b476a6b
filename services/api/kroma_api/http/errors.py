"""Error -> HTTP reply: the taxonomy, Litestar's own errors and bugs, all in one envelope."""

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, Literal, NamedTuple

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.types import Send

from kroma.auth.errors import (
    ForbiddenError,
    InsufficientScopeError,
    InvalidTokenError,
    UnauthorizedError,
)
from kroma.bootstrap.errors import Problem, SettingsRefusedError
from kroma.browsers import MisdirectedRequestError
from kroma.errors import InfraError, InvalidRequestError, KromaError, NotFoundError, PolicyError
from kroma.idempotency.errors import (
    AnswerNotKeptError,
    KeyReusedError,
    OutcomeUnknownError,
    RequestInFlightError,
)
from kroma.pipeline.planning.errors import NothingToLockError, NotSelectableError, PlanChangedError
from kroma.runs.events import TooManyWatchersError
from kroma.storage.errors import StoreError, StoreFullError
from kroma_api.http.json_response import send_json

log: structlog.stdlib.BoundLogger = structlog.get_logger()

MAX_BODY_BYTES: Final = 2 * 1024**2
MAX_UPLOAD_BYTES: Final = 65 * 1024**2
"""Of a form with pictures; each of them may have 64 MiB."""
MAX_FORM_BYTES: Final = 512 * 1024**2
"""Of all files of an upload into a project together; each may have 64 MiB."""
INTERNAL_TEXT: Final = "Internal server error"

_FRAMEWORK_TEXTS: Final[dict[int, str]] = {
    HTTPStatus.NOT_FOUND: "No route has this path",
    HTTPStatus.METHOD_NOT_ALLOWED: "This path does not take this method; see the Allow header",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: f"The request body is larger than {MAX_BODY_BYTES} bytes",
}


class ErrorResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The body of every failure."""

    ok: Literal[False] = False
    error: str
    """What is wrong, in words."""
    error_kind: Literal["validation", "provider", "infra", "policy", "unknown"]
    error_code: str
    """What is wrong, for programs."""
    errors: list[Problem] | msgspec.UnsetType = msgspec.UNSET
    """Everything that is wrong with settings to import, up to 10,000; ``error`` is the first of them."""


class HttpRuleError(InvalidRequestError):
    """The request breaks a rule of HTTP or JSON rather than one of ours."""

    def __init__(
        self,
        status: HTTPStatus,
        text: str | None = None,
        *,
        headers: dict[str, str] | None = None,
        problems: Sequence[Problem] = (),
    ) -> None:
        super().__init__(text or _FRAMEWORK_TEXTS.get(status) or status.phrase)
        self.status = status
        self.headers = headers or {}
        self.problems = problems


class CrossSiteRequestError(PolicyError):
    """A page of another site would change something."""

    code = "cross_site_request"
    text = "Pages of other origins may not change anything; add the origin to KROMA_CORS_ORIGINS to allow it"


class ServerBusyError(InfraError):
    """As many requests are in flight as this process works on at a time."""

    code = "server_busy"
    retry_after_s = 1
    text = "The server is busy; try again in a second"


class ServerStoppedError(InfraError):
    """The server was told to stop before the answer was ready."""

    text = "The server stopped before it answered this request"


class ErrorAnswer(NamedTuple):
    """What to answer to an exception."""

    status: int
    body: ErrorResponse
    headers: Mapping[str, str]


_STATUSES: Final[dict[type[KromaError], HTTPStatus]] = {
    UnauthorizedError: HTTPStatus.UNAUTHORIZED,
    MisdirectedRequestError: HTTPStatus.MISDIRECTED_REQUEST,
    ForbiddenError: HTTPStatus.FORBIDDEN,
    CrossSiteRequestError: HTTPStatus.FORBIDDEN,
    InsufficientScopeError: HTTPStatus.FORBIDDEN,
    NotFoundError: HTTPStatus.NOT_FOUND,
    InfraError: HTTPStatus.INTERNAL_SERVER_ERROR,
    KeyReusedError: HTTPStatus.UNPROCESSABLE_ENTITY,
    PlanChangedError: HTTPStatus.CONFLICT,
    NotSelectableError: HTTPStatus.CONFLICT,
    NothingToLockError: HTTPStatus.CONFLICT,
    RequestInFlightError: HTTPStatus.CONFLICT,
    OutcomeUnknownError: HTTPStatus.CONFLICT,
    AnswerNotKeptError: HTTPStatus.CONFLICT,
    ServerBusyError: HTTPStatus.SERVICE_UNAVAILABLE,
    TooManyWatchersError: HTTPStatus.TOO_MANY_REQUESTS,
    StoreFullError: HTTPStatus.INSUFFICIENT_STORAGE,
    StoreError: HTTPStatus.SERVICE_UNAVAILABLE,
}


def error_answer(error: Exception) -> ErrorAnswer:
    """The answer to any exception; what we did not raise on purpose is logged and shows nothing."""
    match error:
        case HttpRuleError():
            return _answer(error, error.status, error.headers)
        case UnauthorizedError() | InsufficientScopeError():
            return _answer(error, _status(error), {"WWW-Authenticate": _challenge(error)})
        case RequestInFlightError() | ServerBusyError():
            return _answer(error, _status(error), {"Retry-After": str(error.retry_after_s)})
        case KromaError() if (status := _status(error)) != HTTPStatus.INTERNAL_SERVER_ERROR:
            if status > HTTPStatus.INTERNAL_SERVER_ERROR:
                log.warning("store failed", code=error.code, reason=error.message)
            return _answer(error, status, {})
        case HTTPException() if error.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
            return error_answer(_translated(error))
        case _:
            log.error("request failed", exc_info=error)
            body = ErrorResponse(error=INTERNAL_TEXT, error_kind="infra", error_code="internal_error")
            return ErrorAnswer(HTTPStatus.INTERNAL_SERVER_ERROR.value, body, {})


async def send_error(error: Exception, send: Send) -> None:
    """Answer with an error from outside the framework."""
    answer = error_answer(error)
    headers = [(name.lower().encode(), value.encode()) for name, value in answer.headers.items()]
    await send_json(send, answer.body, status=answer.status, headers=headers)


def _challenge(error: UnauthorizedError | InsufficientScopeError) -> str:
    """What RFC 9110 (11.6.1) and RFC 6750 (3) want to be told."""
    match error:
        case InsufficientScopeError():
            return f'Bearer error="{error.code}", scope="{error.asked_for}"'
        case InvalidTokenError():
            return 'Bearer error="invalid_token"'
        case _:
            return "Bearer"


def _status(error: KromaError) -> HTTPStatus:
    if type(error) is KromaError:
        return HTTPStatus.INTERNAL_SERVER_ERROR
    return next((_STATUSES[cls] for cls in type(error).__mro__ if cls in _STATUSES), HTTPStatus.BAD_REQUEST)


def _answer(error: KromaError, status: HTTPStatus, headers: Mapping[str, str]) -> ErrorAnswer:
    shown = {"ok": False, "error": error.message, "error_kind": error.kind, "error_code": error.code}
    body = msgspec.convert(shown, ErrorResponse)
    if isinstance(error, SettingsRefusedError | HttpRuleError) and error.problems:
        body = msgspec.structs.replace(body, errors=list(error.problems))
    return ErrorAnswer(status.value, body, headers)


def _translated(error: HTTPException) -> HttpRuleError:
    status = HTTPStatus(error.status_code)
    headers: dict[str, str] = {}
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = _allowed((error.headers or {}).get("allow", ""))
    return HttpRuleError(status, _parameter_problem(error) or _FRAMEWORK_TEXTS.get(status), headers=headers)


def _allowed(litestar_allow: str) -> str:
    methods = set(litestar_allow.split(", ")) - {"OPTIONS"}
    if "GET" in methods:
        methods.add("HEAD")
    return ", ".join(sorted(methods))


def _parameter_problem(error: HTTPException) -> str | None:
    """The first thing Litestar found wrong with a query, path or header value."""
    problems: Any = error.extra
    if not isinstance(problems, list) or not problems:
        return None
    first = msgspec.convert(problems[0], dict[str, Any], strict=False)
    return f"Parameter '{first.get('key', '')}': {first.get('message', 'wrong value')}"


def _handle(_: Request[Any, Any, Any], error: Exception) -> Response[ErrorResponse]:
    answer = error_answer(error)
    return Response(answer.body, status_code=answer.status, headers=dict(answer.headers))


EXCEPTION_HANDLERS: Final[
    dict[int | type[Exception], Callable[[Request[Any, Any, Any], Exception], Response[ErrorResponse]]]
] = {KromaError: _handle, HTTPException: _handle, Exception: _handle}
