"""Bodies of ``/health``."""

from typing import Literal

from kroma_api.schemas.reply import Reply


class HealthResponse(Reply, frozen=True, kw_only=True):
    """The process answers; nothing behind it is checked."""

    status: Literal["ok"] = "ok"
    service: Literal["kroma-backend-core"] = "kroma-backend-core"
    version: str
    started_unix_ms: int
    """When the process started, in ms since 1970."""
    route_count: int
    """Routes of the contract that are mounted."""
