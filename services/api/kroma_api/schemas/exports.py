"""Bodies of ``/api/projects/{slug}/exports``."""

from typing import Any, Self

from kroma.exports.models import ProjectExport
from kroma_api.schemas.reply import (
    Id,
    ListReply,
    OptionalId,
    Reply,
    RowView,
    Stamp,
)


class ExportView(RowView, frozen=True, kw_only=True):
    """A package of pictures."""

    id: Id
    project_id: Id
    run_id: OptionalId
    """The run it packs, or empty."""
    status: str
    export_format: str
    """Like ``zip``."""
    storage_uri: str
    """The location of the package."""
    rel_path: str
    file_size_bytes: int
    checksum_sha256: str
    """In hex, or empty."""
    manifest_json: Any
    """What is in it."""
    created_at: Stamp
    completed_at: Stamp

    @classmethod
    def of(cls, export: ProjectExport) -> Self:
        return cls.from_row(export, file_size_bytes=export.file_size_bytes or 0)


class ListExportsResponse(ListReply, frozen=True, kw_only=True):
    """Exports, newest first."""

    exports: list[ExportView]


class ExportResponse(Reply, frozen=True, kw_only=True):
    """One export."""

    export: ExportView
