"""The registry of roots: which folder is whose, held by the database (docs/decisions/0030)."""

import asyncio
from collections.abc import Sequence
from typing import Final, NamedTuple
from uuid import UUID

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.db.engine import Database
from kroma.projects.models import Project, ProjectRoot, ProjectStorage
from kroma.projects.storage import locate_project
from kroma.storage.base import ProjectStores
from kroma.storage.errors import RootNotAllowedError
from kroma.storage.roots import is_at_or_below

ROOTS_LOCK: Final = 7_305_110_215
"""As in the trigger that keeps roots disjoint."""


class RootProblem(NamedTuple):
    """A project that nothing is written to, and why."""

    slug: str
    root: str
    reason: str


class _Unregistered(NamedTuple):
    project_id: UUID
    slug: str
    base_dir: str
    project_root: str | None
    location: str
    path: str | None
    """None where no project may be."""


async def lock_roots(session: AsyncSession) -> None:
    """Let nobody else change roots until the transaction ends; taken before any row is locked."""
    await session.execute(select(func.pg_advisory_xact_lock(ROOTS_LOCK)))


async def is_taken(session: AsyncSession, path: str, project_id: UUID) -> bool:
    """Whether a root is, contains or lies in one that is registered for another project."""
    return bool(await session.scalar(select(func.project_root_is_taken(path, project_id))))


async def list_own_roots(session: AsyncSession, project_id: UUID) -> Sequence[str]:
    """The folders that are a project's alone."""
    statement = select(ProjectRoot.path).where(
        ProjectRoot.project_id == project_id, ProjectRoot.contested.is_(False)
    )
    return (await session.scalars(statement)).all()


async def register_root(session: AsyncSession, storage: ProjectStorage, path: str) -> None:
    """Make a free folder the root that a project uses; what it had before stays its own.

    The trigger has the last word, under `lock_roots`.
    """
    await session.execute(
        delete(ProjectRoot).where(
            ProjectRoot.project_id == storage.project_id, ProjectRoot.contested.is_(True)
        )
    )
    own = await list_own_roots(session, storage.project_id)
    if not any(is_at_or_below(path, folder) for folder in own):
        session.add(ProjectRoot(project_id=storage.project_id, path=path))
    # Of its own: a change of the place takes away what was registered for the one before.
    storage.local_real_root = None
    await session.flush()
    storage.local_real_root = path
    await session.flush()
    await _settle_contested(session)


async def settle_roots(db: Database, stores: ProjectStores) -> None:
    """Register the roots of projects that have none registered, such as those from before the rule.

    Roots that overlap stay contested, both of them, until one of the projects has another.
    """
    if not stores.registers_roots or not (found := await _list_unregistered(db, stores)):
        return
    async with db.transaction() as session:
        await lock_roots(session)
        statement = select(ProjectStorage).where(
            ProjectStorage.project_id.in_([one.project_id for one in found]),
            ProjectStorage.local_real_root.is_(None),
        )
        waiting = {row.project_id: row for row in await session.scalars(statement)}
        for one in found:
            storage = waiting.get(one.project_id)
            if storage is None or one.path is None:
                continue
            if (storage.local_base_dir, storage.local_project_root) != (one.base_dir, one.project_root):
                continue  # set anew since it was read
            own = await list_own_roots(session, one.project_id)
            if any(is_at_or_below(one.path, folder) for folder in own):
                storage.local_real_root = one.path
                continue
            await session.execute(
                delete(ProjectRoot).where(
                    ProjectRoot.project_id == one.project_id, ProjectRoot.contested.is_(True)
                )
            )
            session.add(ProjectRoot(project_id=one.project_id, path=one.path, contested=True))
        await session.flush()
        await _settle_contested(session)


async def list_root_problems(db: Database, stores: ProjectStores) -> list[RootProblem]:
    """The projects that nothing is written to, as far as database and disk tell; nothing is changed."""
    if not stores.registers_roots:
        return []
    found = await _list_unregistered(db, stores)
    problems = [
        RootProblem(one.slug, one.location, "no project may be there") for one in found if one.path is None
    ]
    wanted = [one for one in found if one.path is not None]
    async with db.transaction() as session:
        for one in wanted:
            beside = [
                other.slug
                for other in wanted
                if other is not one and _overlap(str(one.path), str(other.path))
            ]
            if beside:
                problems.append(RootProblem(one.slug, one.location, f"overlaps that of {_some(beside)}"))
            elif await is_taken(session, str(one.path), one.project_id):
                problems.append(RootProblem(one.slug, one.location, "overlaps that of another project"))
    return problems


_SHOWN: Final = 5


def _some(slugs: Sequence[str]) -> str:
    return ", ".join(slugs[:_SHOWN]) + (", ..." if len(slugs) > _SHOWN else "")


def _overlap(one: str, other: str) -> bool:
    return is_at_or_below(one, other) or is_at_or_below(other, one)


async def _list_unregistered(db: Database, stores: ProjectStores) -> list[_Unregistered]:
    statement = (
        select(ProjectStorage, Project.slug)
        .join(Project, Project.id == ProjectStorage.project_id)
        .where(ProjectStorage.local_real_root.is_(None))
        .order_by(Project.slug)
    )
    async with db.transaction() as session:
        rows = [(row[0], row[1]) for row in await session.execute(statement)]
    return await asyncio.to_thread(lambda: [_looked_at(stores, *row) for row in rows])


def _looked_at(stores: ProjectStores, storage: ProjectStorage, slug: str) -> _Unregistered:
    location = locate_project(stores, storage.project_id, slug, storage)
    try:
        path = stores.resolve(location)
    except RootNotAllowedError:
        path = None
    return _Unregistered(
        storage.project_id, slug, storage.local_base_dir, storage.local_project_root, location, path
    )


async def _settle_contested(session: AsyncSession) -> None:
    """Give the projects whose roots overlap no other's any more what is theirs."""
    settled = await session.execute(
        update(ProjectRoot)
        .where(
            ProjectRoot.contested.is_(True),
            ~func.project_root_is_taken(ProjectRoot.path, ProjectRoot.project_id),
        )
        .values(contested=False)
        .returning(ProjectRoot.project_id, ProjectRoot.path)
        .execution_options(synchronize_session=False)
    )
    for project_id, path in settled.all():
        await session.execute(
            update(ProjectStorage)
            .where(ProjectStorage.project_id == project_id, ProjectStorage.local_real_root.is_(None))
            .values(local_real_root=path)
            .execution_options(synchronize_session=False)
        )
