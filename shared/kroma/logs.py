"""Log lines on stdout, one per event, as JSON unless eyes read them; nothing secret goes in.

A token that somebody pasted where it does not belong is masked in every line, whoever wrote it.
"""

import logging
import re
import sys
from datetime import UTC, datetime
from typing import Any, Final, TextIO
from uuid import uuid4

import msgspec
import structlog
from structlog.contextvars import get_contextvars

from kroma.config import LogOptions
from kroma.terminal import json_text, visible

REQUEST_ID: Final = "request_id"
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TOKEN: Final = re.compile(r"(kroma_)[0-9a-f]{8,}", re.IGNORECASE)
_KEY: Final = re.compile(
    r"(?:kroma|sk|pk|rk|gh[a-z]|xox[a-z]|glpat|api)[_-](?=.*[0-9])|akia|asia|eyj", re.IGNORECASE
)
_encoder: Final = msgspec.json.Encoder(enc_hook=repr)


def masked(text: str) -> str:
    """A text without our tokens; their first letters stay, as a list of tokens shows them."""
    return _TOKEN.sub(r"\1***", text)


def begins_like_a_key(text: str) -> bool:
    """Whether a text begins as our tokens do, or the keys of well-known services."""
    return _KEY.match(text) is not None


def request_id_of(given: str | None) -> str:
    """The caller's own id of a request where it is one, else a new one."""
    if given is not None and _REQUEST_ID.fullmatch(given) and not begins_like_a_key(given):
        return given
    return uuid4().hex


def current_request_id() -> str | None:
    """The id of the request that is being answered, or that asked for the work under way."""
    found = get_contextvars().get(REQUEST_ID)
    return found if isinstance(found, str) else None


def _encoded(event: structlog.typing.EventDict, **_: object) -> bytes:
    """A log line; it replaces ``json.dumps``, whose keywords it is given."""
    return masked(json_text(event, _encoder)).encode()


class _MaskedConsole(structlog.dev.ConsoleRenderer):
    """Lines for eyes, masked as the others."""

    def __call__(
        self, logger: structlog.typing.WrappedLogger, name: str, event_dict: structlog.typing.EventDict
    ) -> str:
        return masked(super().__call__(logger, name, event_dict))


class LibraryLines(logging.Formatter):
    """What libraries log, in the shape of our own lines."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "event": record.getMessage(),
            "logger": record.name,
            "level": record.levelname.lower(),
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return masked(json_text(line, _encoder))


class PlainLines(logging.Formatter):
    """What libraries log, for eyes."""

    def format(self, record: logging.LogRecord) -> str:
        return masked(visible(super().format(record), lines=True))


def _made_visible(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Texts without control characters; a traceback keeps its lines."""
    return {
        visible(str(name)): visible(value, lines=name == "exception") if isinstance(value, str) else value
        for name, value in event.items()
    }


def configure_logs(options: LogOptions | None = None, *, stream: TextIO | None = None) -> None:
    """Set up structlog and the libraries' own loggers, at the start and again when the settings are known.

    Args:
        options: Level and format of our own lines. Libraries warn, whatever the level: their finer lines
            quote requests and statements.
        stream: Where to; None is standard output.
    """
    options = options or LogOptions()
    is_json = options.format == "json"
    out = stream or sys.stdout
    _take_library_lines(out, LibraryLines() if is_json else PlainLines("%(levelname)s %(message)s"))
    renderers: list[structlog.typing.Processor] = [
        # Not dict_tracebacks: it shows local variables, and they may hold secrets.
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(_encoded),
    ]
    if not is_json:
        plain = structlog.dev.plain_traceback  # the others show local variables, too
        renderers = [
            structlog.processors.format_exc_info,
            _made_visible,
            _MaskedConsole(colors=out.isatty(), exception_formatter=plain),
        ]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(options.level),
        logger_factory=structlog.BytesLoggerFactory() if is_json else structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=True,
    )


def _take_library_lines(out: TextIO, formatter: logging.Formatter) -> None:
    root = logging.getLogger()
    ours = next((handler for handler in root.handlers if handler.name == __name__), None)
    if ours is None and not root.handlers:
        ours = logging.StreamHandler(out)
        ours.name = __name__
        root.addHandler(ours)
        root.setLevel(logging.WARNING)
    if ours is not None:
        ours.setFormatter(formatter)
