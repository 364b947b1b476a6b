"""Where an S3 service is, who asks it, and how patiently."""

from datetime import timedelta
from typing import Any

import msgspec


class S3Access(msgspec.Struct, frozen=True, kw_only=True):
    """Where an S3 service is and who asks; its representation shows no key.

    What is None comes from ``AWS_*``, the profile, or the role of the machine.
    """

    endpoint_url: str | None = None
    """None is AWS itself; anything else is asked with the bucket in the path."""
    region: str | None = None
    profile: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = None
    session_token: str | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}(endpoint_url={self.endpoint_url!r}, region={self.region!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("endpoint_url", self.endpoint_url), ("region", self.region), ("profile", self.profile)]


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """How long and how often one request is tried."""

    connect_timeout: timedelta = timedelta(seconds=5)
    read_timeout: timedelta = timedelta(seconds=60)
    """Between two pieces of an answer."""
    attempts: int = 3
    """In all; the waits between them are random, about a second."""
