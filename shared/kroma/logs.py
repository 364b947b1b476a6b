"""Log lines as JSON on stdout, one per event; nothing secret goes in."""

import logging

import structlog


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
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(),
        cache_logger_on_first_use=True,
    )
