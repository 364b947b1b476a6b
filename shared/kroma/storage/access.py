"""How patiently an S3 service is asked."""

from datetime import timedelta

import msgspec


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How long and how often one request is tried."""

    connect_timeout: timedelta = timedelta(seconds=5)
    read_timeout: timedelta = timedelta(seconds=60)
    """Between two pieces of an answer."""
    attempts: int = 3
    """In all; the waits between them are random, about a second."""
