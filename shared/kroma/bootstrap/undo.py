"""Taking an import back."""

from collections.abc import Mapping
from typing import Any, NamedTuple, cast
from uuid import UUID

from sqlalchemy import delete, func, select
from sqlalchemy import tuple_ as sql_tuple
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.audit import service as audit
from kroma.auth.caller import OWNER, Caller
from kroma.auth.scopes import Scope
from kroma.bootstrap.errors import ImportNotFoundError, ImportUndoneError, SectionChangedError
from kroma.bootstrap.importer import check_sections, get_import_project, retry, stamps
from kroma.bootstrap.models import BootstrapImport
from kroma.bootstrap.rows import clear_tables, read_settings, section_tables, write_rows
from kroma.bootstrap.snapshot import ProjectSnapshot, SettingsSnapshot, snapshot
from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.db.ids import row_id
from kroma.projects.errors import ProjectNotFoundError
from kroma.projects.models import Project
from kroma.secrets.models import ProjectSecret


class Undone(NamedTuple):
    """A project after an import was taken back."""

    import_id: UUID
    sections: list[str]
    project: ProjectSnapshot
    settings: SettingsSnapshot
    audit_id: UUID


async def undo_import(db: Database, *, slug: str, import_id: str, caller: Caller = OWNER) -> Undone:
    """Restore the sections that an import touched, with the ids and stamps that they had.

    Of secrets, names that the import added go, unless they have a value by now.

    Raises:
        InsufficientScopeError: The caller may not delete, or not touch a section of the import.
        ImportNotFoundError: The project or the import is unknown.
        ImportUndoneError: It was taken back before.
        SectionChangedError: A section that it touched has changed since.
        ProjectInUseError: Others kept changing the same rows.
    """
    caller.require(Scope.ADMIN)  # what the import added goes
    key = row_id(import_id)
    if key is None:
        raise ImportNotFoundError
    return await retry(lambda: _undo(db, slug, key, caller))


async def _undo(db: Database, slug: str, import_id: UUID, caller: Caller) -> Undone:
    async with db.transaction() as session:
        project, record = await _get_import(session, slug, import_id)
        saved = record.before_json
        check_sections(caller, saved)
        await _require_unchanged(session, project, record)
        for section, rows in saved.items():
            if section == "project":
                project.name, project.description = rows["name"], rows["description"]
            elif section == "secrets":
                await _remove_names(session, project.id, rows)
            else:
                await _restore(session, project.id, section, rows)
        record.undone_at = project.updated_at = utc_now()
        sections = list(saved)
        event = await audit.record(
            session,
            code="bootstrap.undo",
            project_id=project.id,
            actor=caller.user_id,
            payload={"import_id": str(import_id), "sections": sections},
        )
        restored = await read_settings(session, project.id)
        shown = snapshot(restored, project_id=str(project.id))
    return Undone(import_id, sections, ProjectSnapshot.of(project), shown, event.id)


async def _get_import(session: AsyncSession, slug: str, import_id: UUID) -> tuple[Project, BootstrapImport]:
    try:
        project = await get_import_project(session, slug, lock=True)
    except ProjectNotFoundError as exc:
        raise ImportNotFoundError from exc
    record = await session.scalar(
        select(BootstrapImport)
        .where(BootstrapImport.id == import_id, BootstrapImport.project_id == project.id)
        # The row may have been read before another undo of it let go of the project.
        .execution_options(populate_existing=True)
    )
    if record is None:
        raise ImportNotFoundError
    if record.undone_at is not None:
        raise ImportUndoneError
    return project, record


async def _require_unchanged(session: AsyncSession, project: Project, record: BootstrapImport) -> None:
    left = record.after_json
    sections = [name for name in left if name != "project"]
    now = await read_settings(session, project.id, locked=sections)
    changed = [name for name in sections if stamps(now, name) != left[name]]
    if "project" in left and left["project"] != {"name": project.name, "description": project.description}:
        changed.insert(0, "project")
    if changed:
        raise SectionChangedError(changed)


async def _restore(
    session: AsyncSession, project_id: UUID, section: str, tables: Mapping[str, list[dict[str, Any]]]
) -> None:
    names = section_tables(section)
    await clear_tables(session, project_id, names)
    for table in reversed(names):
        await write_rows(session, table, tables.get(table, []))


async def _remove_names(session: AsyncSession, project_id: UUID, names: list[list[str]]) -> None:
    if not names:
        return
    await session.execute(
        delete(ProjectSecret).where(
            ProjectSecret.project_id == project_id,
            sql_tuple(ProjectSecret.provider_code, ProjectSecret.secret_name).in_(
                [cast("tuple[str, str]", tuple(name)) for name in names]
            ),
            func.btrim(ProjectSecret.secret_value) == "",
        )
    )
