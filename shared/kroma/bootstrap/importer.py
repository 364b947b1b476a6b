"""Importing settings (contract 3.6): all of it in one transaction, or nothing."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Final, NamedTuple, TypeVar
from uuid import UUID

import msgspec
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.aside import aside
from kroma.audit import service as audit
from kroma.auth.caller import OWNER, Caller
from kroma.auth.scopes import Scope
from kroma.bootstrap.answer import read_answer
from kroma.bootstrap.content import Settings
from kroma.bootstrap.diff import Plan, SectionChanges, plan_import
from kroma.bootstrap.errors import NoSettingsSourceError, Problem, ProjectInUseError
from kroma.bootstrap.inputs import SettingsInput
from kroma.bootstrap.models import BootstrapImport
from kroma.bootstrap.payload import Payload, ProjectTexts, checked_answer, checked_settings
from kroma.bootstrap.rows import (
    clear_tables,
    delete_rows,
    read_settings,
    section_tables,
    table_rows,
    write_rows,
)
from kroma.bootstrap.snapshot import SCHEMA_VERSION, ProjectSnapshot, SettingsSnapshot, snapshot
from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.projects.errors import ProjectNotFoundError
from kroma.projects.models import Project
from kroma.projects.slugs import normalized_slug

_ATTEMPTS: Final = 5
# SQLSTATE of unique_violation and deadlock_detected: somebody made a row between our look and our write.
_CROSSED: Final = frozenset({"23505", "40P01"})

_GUARDED: Final = frozenset({"provider_accounts", "secrets"})

Result = TypeVar("Result")


class ProjectChanges(msgspec.Struct, frozen=True, kw_only=True):
    """What an import does to the project's own texts."""

    provided: bool
    updated: bool
    name_changed: bool
    description_changed: bool


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What an import does, by section."""

    project: ProjectChanges
    provider_accounts: SectionChanges
    style_guides: SectionChanges
    characters: SectionChanges
    reference_sets: SectionChanges
    secrets: SectionChanges
    prompt_templates: SectionChanges


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """Elements of the payload by section, without duplicates."""

    provider_accounts: int
    style_guides: int
    characters: int
    reference_sets: int
    secrets: int
    prompt_templates: int


class ImportReport(msgspec.Struct, frozen=True, kw_only=True):
    """What an import did, or would do."""

    schema_version: str = SCHEMA_VERSION
    mode: str
    dry_run: bool
    project_updated: bool
    applied: Applied
    changes: Changes
    project: ProjectSnapshot
    settings: SettingsSnapshot
    warnings: list[Problem]
    """Elements that gave way to a later one of the same name."""


class Imported(NamedTuple):
    """A report; of a real import also its record and the trail's."""

    report: ImportReport
    import_id: UUID | None
    audit_id: UUID | None


async def import_settings(
    db: Database,
    *,
    slug: str,
    settings: SettingsInput | None = None,
    ai_response_text: str | None = None,
    mode: str | None = None,
    dry_run: bool = False,
    caller: Caller = OWNER,
) -> Imported:
    """Import settings, or tell what that would do.

    Args:
        settings: Structured settings, which win over the text.
        ai_response_text: A chat model's answer that holds them.
        mode: ``merge`` or ``replace``; the answer's own unless given, else ``merge``.
        dry_run: Change nothing.
        caller: Who asks for it; what deletes rows or says where keys are sent needs the scope for that.

    Raises:
        NoSettingsSourceError: There are neither settings nor a text.
        BlankAnswerError: The text is blank.
        NoJsonFoundError: The text holds no JSON.
        AnswerNotSettingsError: The text is JSON, but no object.
        SettingsRefusedError: Something has a wrong type or breaks a rule.
        ProjectNotFoundError: No project has this slug.
        InsufficientScopeError: The caller may not do what a real import would.
        ProjectInUseError: Others kept changing the same rows.
    """
    payload = await _payload(settings, ai_response_text, mode)
    if dry_run:
        async with db.transaction() as session:
            project = await get_import_project(session, slug, lock=False)
            before = await read_settings(session, project.id)
        return Imported(
            await aside(before.count + payload.count, _previewed, before, payload, project), None, None
        )
    check_sections(caller, touched_sections(payload))
    return await retry(lambda: _import(db, slug, payload, caller))


def check_sections(caller: Caller, sections: Collection[str]) -> None:
    """Refuse a caller who may not touch the secrets, or the addresses that they are sent to.

    Raises:
        InsufficientScopeError: The caller's token lacks the scope for it.
    """
    if not _GUARDED.isdisjoint(sections):
        caller.require(Scope.SECRETS)


def _previewed(before: Settings, payload: Payload, project: Project) -> ImportReport:
    plan = plan_import(before, payload, now=utc_now(), preview=True)
    shown = snapshot(plan.settings, project_id=str(project.id), before=before)
    return _report(payload, plan, project, _texts_after(project, payload.project), shown, dry_run=True)


async def retry(work: Callable[[], Awaitable[Result]]) -> Result:
    """Run a transaction again when rows that others made meanwhile stood in its way.

    Raises:
        ProjectInUseError: They did every time.
    """
    for _ in range(_ATTEMPTS):
        try:
            return await work()
        except DBAPIError as exc:
            if getattr(exc.orig, "sqlstate", None) not in _CROSSED:
                raise
    raise ProjectInUseError


async def _payload(settings: SettingsInput | None, text: str | None, mode: str | None) -> Payload:
    if settings is not None:
        return await aside(settings.count, checked_settings, settings, mode=mode)
    if text is None:
        raise NoSettingsSourceError
    return await aside(len(text), _answered, text, mode)


def _answered(text: str, mode: str | None) -> Payload:
    return checked_answer(read_answer(text), mode=mode)


async def get_import_project(session: AsyncSession, slug: str, *, lock: bool) -> Project:
    """A project.

    Raises:
        ProjectNotFoundError: No project has this slug.
    """
    normalized = normalized_slug(slug)
    if normalized is None:
        raise ProjectNotFoundError
    statement = select(Project).where(Project.slug == normalized)
    if lock:
        # Keeps other imports out, and lets through whoever adds a row to the project.
        statement = statement.with_for_update(key_share=True)
    project = await session.scalar(statement, execution_options={"populate_existing": True})
    if project is None:
        raise ProjectNotFoundError
    return project


async def _import(db: Database, slug: str, payload: Payload, caller: Caller) -> Imported:
    async with db.transaction() as session:
        project = await get_import_project(session, slug, lock=True)
        touched = touched_sections(payload)
        before = await read_settings(session, project.id, locked=touched)
        now = utc_now()
        size = before.count + payload.count
        plan = await aside(size, plan_import, before, payload, now=now, preview=False)
        if _deletes(before, plan, touched):
            caller.require(Scope.ADMIN)
        await _write(session, project.id, before, plan, touched)
        texts = _texts_after(project, payload.project)
        shown = await aside(size, snapshot, plan.settings, project_id=str(project.id))
        report = _report(payload, plan, project, texts, shown, dry_run=False)
        record = BootstrapImport(
            project_id=project.id,
            mode=payload.mode,
            before_json=await aside(size, _before, project, before, plan, payload),
            after_json=await aside(size, _stamped, plan.settings, touched),
        )
        if payload.project is not None:
            record.after_json = record.after_json | {"project": texts._asdict()}
        project.name, project.description, project.updated_at = *texts, now
        session.add(record)
        await session.flush()
        event = await audit.record(
            session,
            code="bootstrap.import",
            project_id=project.id,
            actor=caller.user_id,
            payload={
                "import_id": str(record.id),
                "mode": payload.mode,
                "sections": [*(["project"] if payload.project is not None else []), *touched],
            },
        )
    return Imported(report, record.id, event.id)


class ProjectTextsAfter(NamedTuple):
    """The project's texts."""

    name: str
    description: str


def _texts_after(project: Project, given: ProjectTexts | None) -> ProjectTextsAfter:
    if given is None:
        return ProjectTextsAfter(project.name, project.description)
    return ProjectTextsAfter(
        project.name if given.name is None else given.name,
        project.description if given.description is None else given.description,
    )


def touched_sections(payload: Payload) -> list[str]:
    """The sections that a payload provides, without the project."""
    return [name for name in Settings.__struct_fields__ if getattr(payload, name) is not None]


def _stamped(settings: Settings, touched: list[str]) -> dict[str, Any]:
    return {name: stamps(settings, name) for name in touched if name != "secrets"}


def stamps(settings: Settings, section: str) -> list[str]:
    """By what a section is recognized as unchanged: every change of a row moves its stamp."""
    rows: list[Any] = list(getattr(settings, section))
    if section == "reference_sets":
        rows += [item for row in rows for item in row.content.items]
    return sorted(
        f"{row.id or row.content.provider_code} {row.updated_at.isoformat(timespec='microseconds')}"
        for row in rows
    )


async def _write(
    session: AsyncSession, project_id: UUID, before: Settings, plan: Plan, touched: list[str]
) -> None:
    for section in touched:
        planned = plan.sections[section]
        if planned.changes.replaced:
            await clear_tables(session, project_id, section_tables(section))
        elif section == "reference_sets":
            await delete_rows(session, "reference_set_items", _items_gone(before, plan))
        for table, rows in (
            await aside(plan.settings.count, table_rows, project_id, planned.written)
        ).items():
            await write_rows(session, table, rows)


def _deletes(before: Settings, plan: Plan, touched: list[str]) -> bool:
    """Whether rows go: all of a replaced section, or items that a set no longer has."""
    is_replaced = any(plan.sections[section].changes.replaced for section in touched)
    return is_replaced or ("reference_sets" in touched and bool(_items_gone(before, plan)))


def _items_gone(before: Settings, plan: Plan) -> list[UUID]:
    kept = {item.id for row in plan.sections["reference_sets"].after for item in row.content.items}
    known = [item.id for row in before.reference_sets for item in row.content.items]
    return [key for key in known if key is not None and key not in kept]


def _before(project: Project, before: Settings, plan: Plan, payload: Payload) -> dict[str, Any]:
    """What it takes to restore the touched sections."""
    saved: dict[str, Any] = {}
    if payload.project is not None:
        saved["project"] = {"name": project.name, "description": project.description}
    for section in touched_sections(payload):
        if section == "secrets":
            known = {(row.content.provider_code, row.content.secret_name) for row in before.secrets}
            given = (
                (row.content.provider_code, row.content.secret_name) for row in plan.sections[section].written
            )
            saved[section] = [list(name) for name in given if name not in known]
        else:
            saved[section] = table_rows(project.id, getattr(before, section))
    return saved


def _report(
    payload: Payload,
    plan: Plan,
    project: Project,
    texts: ProjectTextsAfter,
    shown: SettingsSnapshot,
    *,
    dry_run: bool,
) -> ImportReport:
    name_changed, description_changed = texts.name != project.name, texts.description != project.description
    updated = name_changed or description_changed
    changes: Mapping[str, Any] = {name: section.changes for name, section in plan.sections.items()}
    return ImportReport(
        mode=payload.mode,
        dry_run=dry_run,
        project_updated=updated,
        applied=Applied(**{name: len(section.written) for name, section in plan.sections.items()}),
        changes=Changes(
            project=ProjectChanges(
                provided=payload.project is not None,
                updated=updated,
                name_changed=name_changed,
                description_changed=description_changed,
            ),
            **changes,
        ),
        project=msgspec.structs.replace(ProjectSnapshot.of(project), **texts._asdict()),
        settings=shown,
        warnings=payload.warnings,
    )
