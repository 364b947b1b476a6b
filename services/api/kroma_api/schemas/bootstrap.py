"""Bodies of ``/api/projects/{slug}/bootstrap-prompt`` and ``bootstrap-import``."""

import msgspec
from msgspec import UNSET, UnsetType

from kroma.bootstrap.errors import Problem
from kroma.bootstrap.importer import ImportReport
from kroma.bootstrap.inputs import SettingsInput, ShapeCheck
from kroma.bootstrap.prompt import BootstrapExport
from kroma.bootstrap.snapshot import ProjectSnapshot, SettingsSnapshot
from kroma_api.schemas.reply import AuditId, Id, Reply


class BootstrapImportRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``POST /api/projects/{slug}/bootstrap-import``; settings, or a text that holds them."""

    mode: str | None = None
    """``merge`` or ``replace``; the text's own when absent, else ``merge``."""
    dry_run: bool | None = None
    """Only tell what would change."""
    settings: SettingsInput | None = None
    """Wins over the text."""
    ai_response_text: str | None = None
    """What a chat model answered: JSON, fenced or among prose."""

    @classmethod
    def problems(cls, body: object) -> list[Problem]:
        """Every wrong type in decoded JSON."""
        check = ShapeCheck()
        check.body(body, cls)
        return check.problems


class BootstrapPromptResponse(Reply, frozen=True, kw_only=True):
    """The settings with their prompt."""

    bootstrap: BootstrapExport


class BootstrapImportResponse(Reply, frozen=True, kw_only=True):
    """What the import did, or would do."""

    bootstrap_import: ImportReport
    import_id: Id | UnsetType = UNSET
    """Takes the import back; absent after a dry run."""
    audit_id: AuditId | UnsetType = UNSET
    """Absent after a dry run."""


class BootstrapUndoView(msgspec.Struct, frozen=True, kw_only=True):
    """A project after an import was taken back."""

    import_id: Id
    sections: list[str]
    """Those that were restored."""
    project: ProjectSnapshot
    settings: SettingsSnapshot


class BootstrapUndoResponse(Reply, frozen=True, kw_only=True):
    """The import is taken back."""

    bootstrap_undo: BootstrapUndoView
    audit_id: AuditId
