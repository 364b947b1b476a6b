"""Bodies of ``/api/projects/{slug}/exports``."""

from typing import Any, Self

import msgspec

from kroma.exports.models import ProjectExport
from kroma_api.schemas.reply import Id, ListReply, OptionalId, Reply, Stamp, shown_id, shown_json, shown_stamp


class ExportView(msgspec.Struct, frozen=True, kw_only=True):
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
        """Show an export."""
        return cls(
            id=str(export.id),
            project_id=str(export.project_id),
            run_id=shown_id(export.run_id),
            status=export.status,
            export_format=export.export_format,
            storage_uri=export.storage_uri or "",
            rel_path=export.rel_path or "",
            file_size_bytes=export.file_size_bytes or 0,
            checksum_sha256=export.checksum_sha256 or "",
            manifest_json=shown_json(export.manifest_json),
            created_at=shown_stamp(export.created_at),
            completed_at=shown_stamp(export.completed_at),
        )


class ListExportsResponse(ListReply, frozen=True, kw_only=True):
    """Exports, newest first."""

    exports: list[ExportView]


class ExportResponse(Reply, frozen=True, kw_only=True):
    """One export."""

    export: ExportView
