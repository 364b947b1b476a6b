"""Bodies of ``/api/tools/{tool}``."""

import hashlib
from typing import Any, Self

import msgspec

from kroma.tools.runner import Report, Result
from kroma_api.schemas.reply import Reply


class ToolPictureView(msgspec.Struct, frozen=True, kw_only=True):
    """A picture that a tool made."""

    mime_type: str
    width: int
    """In pixels."""
    height: int
    """In pixels."""
    size_bytes: int
    sha256: str
    details: Any
    """What the tool says of it, like the provider, its parameters, the cost and the call in the ledger."""
    data_base64: str
    """The file."""

    @classmethod
    def of(cls, result: Result, *, data_base64: str) -> Self:
        return cls(
            mime_type=result.mime_type,
            width=result.width,
            height=result.height,
            size_bytes=len(result.data),
            sha256=hashlib.sha256(result.data).hexdigest(),
            details=result.details,
            data_base64=data_base64,
        )


class ToolReportView(msgspec.Struct, frozen=True, kw_only=True):
    """What the checks say of a picture."""

    has_hard_failures: bool
    hard_fail_reasons: list[str]
    soft_warnings: list[str]
    output_guard: Any
    """The color guard's measures."""
    quality: Any
    """Every check with its score, threshold and reason."""

    @classmethod
    def of(cls, report: Report) -> Self:
        return cls(
            has_hard_failures=report.has_hard_failures,
            hard_fail_reasons=report.hard_fail_reasons,
            soft_warnings=report.soft_warnings,
            output_guard=msgspec.to_builtins(report.guard),
            quality=msgspec.to_builtins(report.quality),
        )


class ToolResponse(Reply, frozen=True, kw_only=True):
    """What a tool made or found."""

    tool: str
    file: str
    """The name of the upload."""
    pictures: list[ToolPictureView]
    """What was made; none by `qa` and `inspect`."""
    report: ToolReportView | None
    """The report of `qa`."""
    inspection: Any
    """The result of `inspect`: how the picture was made, and `state`, whether it was changed since."""
