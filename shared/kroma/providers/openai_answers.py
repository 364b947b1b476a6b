"""What OpenAI's answers mean: a picture, a refusal that cost nothing, or a call that may have cost money.

How each status is judged, and why: docs/decisions/0014-what-may-be-sent-again.md.
"""

import binascii
import re
from base64 import b64decode
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import msgspec

from kroma.providers.answers import TRANSIENT, retry_after
from kroma.providers.base import (
    AnswerLostError,
    ProviderFailedError,
    ProviderKeyRefusedError,
    ProviderRefusedError,
)

CODE: Final = "openai"
_WORD: Final = re.compile(r"[a-z][a-z0-9_.\[\]-]{0,63}", re.IGNORECASE)
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
_NO_MONEY: Final = frozenset(
    {"insufficient_quota", "credit_balance_exhausted", "billing_hard_limit_reached", "billing_not_active"}
)
_PROSE: Final[Mapping[str, str]] = {
    "moderation_blocked": "its safety system refused the prompt or the pictures",
    "content_policy_violation": "its safety system refused the prompt or the pictures",
    "model_not_found": "it does not offer this model to this key",
    **dict.fromkeys(_NO_MONEY, "the account has no credit left"),
}
_OWN_FAILURES: Final = frozenset({HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.SERVICE_UNAVAILABLE})
"""That the service itself answers; other 5xx come from what stands between it and us."""


class RawAnswer(msgspec.Struct, frozen=True):
    """A whole HTTP reply."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


class _Error(msgspec.Struct, frozen=True):
    code: str | int | None = None
    type: str | None = None
    param: str | None = None


class _ErrorBody(msgspec.Struct, frozen=True):
    error: _Error


class _Image(msgspec.Struct, frozen=True):
    b64_json: str | None = None


class ImageReply(msgspec.Struct, frozen=True):
    """The body of a 200."""

    data: list[_Image]
    usage: dict[str, Any] | None = None


def request_id(answer: RawAnswer) -> str | None:
    """The provider's id of the call, if it is one."""
    text = answer.headers.get("x-request-id", "")
    return text if _REQUEST_ID.fullmatch(text) else None


def read_reply(answer: RawAnswer) -> ImageReply:
    """The body of an answer that says that all went well.

    Raises:
        ProviderFailedError: It says something else, or nothing that can be read.
    """
    if answer.status != HTTPStatus.OK:
        raise _with_id(failure(answer), answer)
    try:
        return msgspec.json.decode(answer.body, type=ImageReply)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise _with_id(AnswerLostError(CODE, "its answer could not be read"), answer) from None


def picture_of(reply: ImageReply) -> bytes | None:
    """The decoded bytes of the picture; None when there is none."""
    text = reply.data[0].b64_json if reply.data else None
    if not text:
        return None
    try:
        return b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def failure(answer: RawAnswer) -> ProviderFailedError:
    """What a status other than 200 means."""
    status, error = answer.status, _error_of(answer)
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return ProviderKeyRefusedError(CODE, f"the service refused the API key ({_named(status, error)})")
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return _too_many(answer, error)
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return ProviderRefusedError(
            CODE, f"the service answered with a redirect ({status}), which is not followed"
        )
    if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return ProviderRefusedError(CODE, _refusal(status, error), retryable=status in TRANSIENT)
    if status in _OWN_FAILURES and error is not None:
        return ProviderRefusedError(
            CODE,
            f"the service is not available now ({_named(status, error)})",
            retryable=True,
            retry_after=retry_after(answer.headers),
            is_down=True,
        )
    return AnswerLostError(
        CODE, f"the service or a gateway answered with {status}, and the work may have been done"
    )


def _too_many(answer: RawAnswer, error: _Error | None) -> ProviderRefusedError:
    if error is not None and _NO_MONEY & {error.code, error.type}:
        return ProviderRefusedError(CODE, f"the account has no credit left ({_named(answer.status, error)})")
    return ProviderRefusedError(
        CODE,
        f"too many calls ({_named(answer.status, error)})",
        retryable=True,
        retry_after=retry_after(answer.headers),
    )


def _refusal(status: int, error: _Error | None) -> str:
    code = error.code if error is not None else None
    prose = _PROSE.get(code, "it refused the request") if isinstance(code, str) else "it refused the request"
    return f"{prose} ({_named(status, error)})"


def _named(status: int, error: _Error | None) -> str:
    """The status, and the provider's own words for it where they are words of its vocabulary.

    Its messages are left out: they may repeat what was sent, a part of the key with it.
    """
    parts = [str(status)]
    if error is not None:
        words = {"code": error.code or error.type, "param": error.param}
        parts += [
            f"{name} {word}"
            for name, word in words.items()
            if isinstance(word, str) and _WORD.fullmatch(word)
        ]
    return ", ".join(parts)


def _error_of(answer: RawAnswer) -> _Error | None:
    try:
        return msgspec.json.decode(answer.body, type=_ErrorBody).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _with_id(error: ProviderFailedError, answer: RawAnswer) -> ProviderFailedError:
    error.request_id = request_id(answer)
    return error
