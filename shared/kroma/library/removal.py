"""Taking an asset away, when nothing refers to it any more."""

from collections.abc import AsyncIterator
from pathlib import PurePosixPath
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Select, cast, func, or_, select
from sqlalchemy.dialects.postgresql import JSONB, JSONPATH
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.assets.errors import AssetNotFoundError
from kroma.assets.models import Asset, AssetLink
from kroma.audit import service as audit
from kroma.baselines.models import Baseline
from kroma.db.engine import Database
from kroma.library.deduplication import find_key
from kroma.library.errors import AssetInUseError
from kroma.library.orphans import discard
from kroma.library.project_files import ProjectFiles
from kroma.library.thumbnails import SIZES_PX
from kroma.project_texts.models import ReferenceSet, ReferenceSetItem
from kroma.projects.contents import get_in_project
from kroma.quality.models import QualityReport
from kroma.runs.models import OPEN_RUN_STATUSES, Run, RunCandidate, RunJob
from kroma.storage.base import ObjectStore
from kroma.storage.keys import thumbnail_key

_MOST: Final = 20
"""Of each kind, that are looked for: a few tell enough."""


async def delete_asset(db: Database, files: ProjectFiles, *, asset_id: str, actor: UUID | None) -> UUID:
    """Remove an asset, its thumbnails and then its file, unless another row names the same file.

    Returns:
        The event in the trail.

    Raises:
        AssetNotFoundError: The project has no such asset.
        AssetInUseError: Something refers to it; nothing was changed.
    """
    async with db.transaction() as session:
        asset = await get_in_project(
            session, Asset, slug=files.slug, identifier=asset_id, missing=AssetNotFoundError(), lock=True
        )
        users = [user async for user in _users(session, files.store, asset)]
        if users:
            raise AssetInUseError(users)
        key, sha256 = find_key(files.store, asset.rel_path), asset.sha256
        payload = {"asset_id": str(asset.id), "rel_path": asset.rel_path, "sha256": sha256 or ""}
        await session.delete(asset)
        event = await audit.record(
            session, code="asset.delete", project_id=files.project_id, actor=actor, payload=payload
        )
        has_twin = sha256 is not None and await session.scalar(
            select(Asset.id).where(Asset.project_id == files.project_id, Asset.sha256 == sha256).limit(1)
        )
    thumbnails = [] if sha256 is None or has_twin else [thumbnail_key(sha256, size) for size in SIZES_PX]
    # After the commit: a file without a row is harmless, a row without a file is not.
    await discard(db, files, [*([] if key is None else [key]), *thumbnails])
    return event.id


async def _users(session: AsyncSession, store: ObjectStore, asset: Asset) -> AsyncIterator[str]:
    """What refers to the asset, in words."""
    async for item in _items(session, store, asset):
        yield item
    for statement, words in _statements(asset):
        for row in await session.execute(statement.limit(_MOST)):
            yield words.format(*row)


async def _items(session: AsyncSession, store: ObjectStore, asset: Asset) -> AsyncIterator[str]:
    """Items of reference sets: an address may spell the path in several ways."""
    name = PurePosixPath(asset.rel_path).name
    address = ReferenceSetItem.content_uri
    statement = (
        select(ReferenceSetItem.label, address, ReferenceSet.name)
        .join(ReferenceSet, ReferenceSet.id == ReferenceSetItem.reference_set_id)
        .where(
            ReferenceSetItem.project_id == asset.project_id,
            or_(address == str(asset.id), func.right(func.rtrim(address, "/ "), len(name)) == name),
        )
    )
    for label, given, owner in await session.execute(statement):
        if given is None:
            continue
        if given == str(asset.id) or find_key(store, given) == find_key(store, asset.rel_path):
            yield f"item '{label}' of reference set '{owner}'"


def _statements(asset: Asset) -> list[tuple[Select[*tuple[Any, ...]], str]]:
    of_run = select(RunJob.job_key, Run.id).select_from(RunJob).join(Run, Run.id == RunJob.run_id)
    of_candidate = (
        select(RunCandidate.candidate_index, RunJob.job_key, Run.id)
        .select_from(RunCandidate)
        .join(RunJob, RunJob.id == RunCandidate.job_id)
        .join(Run, Run.id == RunJob.run_id)
    )
    in_project = Run.project_id == asset.project_id
    return [
        (
            select(Baseline.scene_path).where(
                Baseline.project_id == asset.project_id,
                or_(Baseline.asset_id == asset.id, Baseline.path == asset.rel_path),
            ),
            "the baseline that was locked for scene '{}'",
        ),
        (
            of_candidate.where(
                or_(RunCandidate.output_asset_id == asset.id, RunCandidate.final_asset_id == asset.id)
            ),
            "candidate {} of job '{}' of run {}",
        ),
        (of_run.where(RunJob.final_asset_id == asset.id), "the result of job '{}' of run {}"),
        (
            select(Run.id).where(in_project, Run.status.in_(OPEN_RUN_STATUSES), _plans(asset.rel_path)),
            "run {}, which has not ended",
        ),
        (select(Run.id).where(in_project, Run.run_log_path == asset.rel_path), "run {}, whose log it is"),
        (
            select(AssetLink.id, AssetLink.link_type).where(
                or_(AssetLink.parent_asset_id == asset.id, AssetLink.child_asset_id == asset.id)
            ),
            "asset link {} ({})",
        ),
        (select(QualityReport.id).where(QualityReport.asset_id == asset.id), "quality report {}"),
    ]


def _plans(rel_path: str) -> ColumnElement[bool]:
    """Whether a run's plan reads a file."""
    keys = cast("$.**.key ? (@ == $path)", JSONPATH)
    return func.jsonb_path_exists(Run.plan_json, keys, cast({"path": rel_path}, JSONB))
