"""Log lines as JSON on stdout, one per event; nothing secret goes in."""

import logging
from typing import Final

import msgspec
import structlog

_encoder: Final = msgspec.json.Encoder(enc_hook=repr)


def _encoded(event: structlog.typing.EventDict, **_: object) -> bytes:
    """A log line; it replaces ``json.dumps``, whose keywords it is given."""
    return _encoder.encode(event)


def configure_logs(level: int = logging.INFO) -> None:
    """Set up structlog and the libraries' own loggers, once per process."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            # Not dict_tracebacks: it shows local variables, and they may hold secrets.
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(_encoded),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.BytesLoggerFactory(),
        cache_logger_on_first_use=True,
    )
