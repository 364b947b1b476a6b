"""Bodies of ``/health`` and of what is below it."""

from typing import Literal

import msgspec

from kroma.health.probe import Check
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


class LiveResponse(Reply, frozen=True, kw_only=True):
    """The process answers; nothing behind it is checked."""

    status: Literal["live"] = "live"


class ReadyResponse(Reply, frozen=True, kw_only=True):
    """Every part that was asked is well."""

    status: Literal["ready"] = "ready"
    checks: list[Check]


class NotReadyResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A part is not well; ``error`` names each."""

    ok: Literal[False] = False
    error: str
    error_kind: Literal["infra"] = "infra"
    error_code: Literal["not_ready"] = "not_ready"
    status: Literal["not_ready"] = "not_ready"
    checks: list[Check]
