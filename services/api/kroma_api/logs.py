"""Log lines: JSON on standard output, one object per line."""

import logging
import sys

import msgspec
import structlog


def _encoded(event: object, **_: object) -> str:
    return msgspec.json.encode(event, enc_hook=str).decode()


def configure() -> None:
    """Send structlog, and the warnings of libraries, to standard output."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            # Tracebacks without local variables, which may hold secrets.
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=_encoded),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(stream=sys.stdout, level=logging.WARNING, format="%(message)s")
