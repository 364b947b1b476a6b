"""What a plan reads from the tables: the project's texts, references, earlier pictures and baselines."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar, cast
from uuid import UUID

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute, selectinload

from kroma.aside import aside
from kroma.baselines.models import Baseline
from kroma.baselines.queries import current_baselines
from kroma.db.engine import Database
from kroma.db.ids import row_id
from kroma.pipeline.planning.errors import PlanningPreflightError
from kroma.pipeline.planning.named_assets import find_named_assets, is_asset_id
from kroma.pipeline.planning.plan import PlannedPicture
from kroma.pipeline.planning.project_location import ProjectLocation
from kroma.pipeline.planning.run_spec import RunSpec
from kroma.project_texts.models import Character, PromptTemplate, ReferenceSet, ReferenceSetItem, StyleGuide
from kroma.runlog.schema import NamedTextLog, ReferenceLog, WordsLog
from kroma.runlog.times import iso
from kroma.runs.models import OPEN_RUN_STATUSES, Run, RunJob, Stage

_SHOWN_KEYS: Final = 20

Row = TypeVar("Row", StyleGuide, PromptTemplate, ReferenceSet, Character)


class SourceScene(msgspec.Struct, frozen=True, kw_only=True):
    """A picture of an earlier run, used as a scene."""

    job_key: str
    path: str


class StandingBaseline(msgspec.Struct, frozen=True, kw_only=True):
    """A current baseline: the content of a scene, and the picture that is locked for it."""

    scene_sha256: str
    scene_size_bytes: int
    sha256: str
    """Of ``picture``."""
    picture: PlannedPicture


class ProjectInputs(msgspec.Struct, frozen=True, kw_only=True):
    """What a plan reads from the tables."""

    words: WordsLog | None = None
    baseline_run_id: UUID | None = None
    scenes: tuple[SourceScene, ...] | None = None
    """None if the scenes are files."""
    baselines: tuple[StandingBaseline, ...] = ()
    assets: Mapping[str, str] = {}
    """Paths of the assets that the run spec and its references name, by id."""

    def path_of(self, ref: str) -> str:
        """The path of a reference, which may be an asset's id."""
        return self.assets.get(ref, ref)


NOTHING: Final = ProjectInputs()


async def load_project_inputs(db: Database, location: ProjectLocation, spec: RunSpec) -> ProjectInputs:
    """Read what a run spec names.

    Raises:
        PlanningPreflightError: It names something that the project lacks, or that has no picture.
    """
    baselines = await standing_baselines(db, location)
    if not await aside(_size(spec), _needs_rows, spec):
        return ProjectInputs(baselines=baselines)
    async with db.transaction() as session:
        words = await _words(session, location.id, spec)
        assets = await find_named_assets(
            session, location.id, await aside(_size(spec), _picture_refs, spec, words)
        )
        source = None if spec.baseline_run_id is None else await _source(session, location.id, spec)
    return ProjectInputs(
        words=words,
        baseline_run_id=None if source is None else source[0],
        scenes=None if source is None else source[1],
        baselines=baselines,
        assets=assets,
    )


async def standing_baselines(db: Database, location: ProjectLocation) -> tuple[StandingBaseline, ...]:
    """The current baselines of a project."""
    if not location.has_baselines:
        return ()
    return tuple(_standing(row) for row in await current_baselines(db, location.id))


def _standing(row: Baseline) -> StandingBaseline:
    picture = PlannedPicture(
        ref=row.path,
        key=row.path,
        mime_type=row.mime_type,
        width=row.width,
        height=row.height,
        size_bytes=row.size_bytes,
    )
    return StandingBaseline(
        scene_sha256=row.scene_sha256,
        scene_size_bytes=row.scene_size_bytes,
        sha256=row.sha256,
        picture=picture,
    )


def _size(spec: RunSpec) -> int:
    return len(spec.scene_refs or ()) + len(spec.style_refs or ())


def _needs_rows(spec: RunSpec) -> bool:
    return bool(
        spec.stage is Stage.CHARACTER
        or spec.style_guide_id
        or spec.prompt_template_id
        or spec.reference_set_ids
        or spec.character_ids
        or spec.baseline_run_id
        or any(is_asset_id(ref) for ref in (*(spec.scene_refs or ()), *(spec.style_refs or ())))
    )


def _picture_refs(spec: RunSpec, words: WordsLog | None) -> dict[str, str]:
    """The field or reference that names each asset id, by id."""
    return {ref: subject for ref, subject in _named_pictures(spec, words) if is_asset_id(ref)}


def _named_pictures(spec: RunSpec, words: WordsLog | None) -> Iterator[tuple[str, str]]:
    # With baseline_run_id, scene_refs are job keys.
    for ref in (spec.scene_refs or ()) if spec.baseline_run_id is None else ():
        yield ref, "Field 'scene_refs'"
    for ref in spec.style_refs or ():
        yield ref, "Field 'style_refs'"
    for item in words.references if words is not None else ():
        if item.path is not None:
            called = item_name(item)
            yield item.path, f"{called[0].upper()}{called[1:]}"


async def _words(session: AsyncSession, project_id: UUID, spec: RunSpec) -> WordsLog | None:
    guides = await _find_named(session, StyleGuide, project_id, "style_guide_id", _one(spec.style_guide_id))
    templates = await _find_named(
        session, PromptTemplate, project_id, "prompt_template_id", _one(spec.prompt_template_id)
    )
    characters = await _characters(session, project_id, spec)
    references = await _references(session, project_id, spec.reference_set_ids)
    if not (guides or templates or characters or references):
        return None
    return WordsLog(
        template=_text(templates[0], templates[0].template_text) if templates else None,
        style_guide=_text(guides[0], guides[0].instructions) if guides else None,
        characters=[_text(row, row.prompt_text or row.description or "") for row in characters],
        references=references,
    )


def _one(identifier: str | None) -> tuple[str, ...]:
    return () if identifier is None else (identifier,)


def _text(row: StyleGuide | PromptTemplate | Character, text: str) -> NamedTextLog:
    return NamedTextLog(id=row.id, name=row.name, text=text.strip(), updated_at=iso(row.updated_at) or "")


_THINGS: Final[Mapping[type[Any], str]] = {
    StyleGuide: "style guide",
    PromptTemplate: "prompt template",
    ReferenceSet: "reference set",
    Character: "character",
}


async def _find_named(
    session: AsyncSession, model: type[Row], project_id: UUID, field: str, identifiers: Sequence[str]
) -> list[Row]:
    """The project's rows with these ids, in their order."""
    if not identifiers:
        return []
    keys = {identifier: row_id(identifier) for identifier in identifiers}
    column: InstrumentedAttribute[UUID] = model.id
    known = [key for key in keys.values() if key is not None]
    rows = await session.scalars(select(model).where(model.project_id == project_id, column.in_(known)))
    found = {row.id: row for row in rows}
    for identifier, key in keys.items():
        if key not in found:
            raise PlanningPreflightError(
                f"Field '{field}': the project has no {_THINGS[model]} with the id '{identifier}'"
            )
    return [found[key] for key in known]


async def _characters(session: AsyncSession, project_id: UUID, spec: RunSpec) -> list[Character]:
    if spec.character_ids is None and spec.stage is Stage.CHARACTER:
        statement = select(Character).where(Character.project_id == project_id)
        return list(await session.scalars(statement.order_by(Character.name, Character.id)))
    return await _find_named(session, Character, project_id, "character_ids", spec.character_ids or ())


async def _references(session: AsyncSession, project_id: UUID, set_ids: Sequence[str]) -> list[ReferenceLog]:
    sets = await _find_named(session, ReferenceSet, project_id, "reference_set_ids", set_ids)
    if not sets:
        return []
    statement = (
        select(ReferenceSetItem)
        .where(ReferenceSetItem.reference_set_id.in_([one.id for one in sets]))
        .order_by(ReferenceSetItem.sort_order, ReferenceSetItem.updated_at.desc(), ReferenceSetItem.id.desc())
    )
    items = list(await session.scalars(statement))
    references = [_reference(one, item) for one in sets for item in items if item.reference_set_id == one.id]
    # Items of equal weight keep their order.
    return sorted(references, key=lambda reference: -reference.weight)


def item_name(reference: ReferenceLog) -> str:
    """The item's name in errors."""
    return f"item '{reference.label}' of reference set '{reference.set_name}'"


def _reference(owner: ReferenceSet, item: ReferenceSetItem) -> ReferenceLog:
    reference = ReferenceLog(
        id=item.id,
        set_id=owner.id,
        set_name=owner.name,
        label=item.label,
        text=(item.content_text or "").strip(),
        path=(item.content_uri or "").strip() or None,
    )
    metadata = item.metadata_json
    weight: object = cast("dict[str, object]", metadata).get("weight", 1) if isinstance(metadata, dict) else 1
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight <= MAX_WEIGHT:
        raise PlanningPreflightError(
            f"The weight in metadata_json of {item_name(reference)} must be a number"
            f" from 0 to {MAX_WEIGHT}; heavier references come first"
        )
    reference.weight = float(weight)
    return reference


MAX_WEIGHT: Final = 1000


async def _source(
    session: AsyncSession, project_id: UUID, spec: RunSpec
) -> tuple[UUID, tuple[SourceScene, ...]]:
    run = await _source_run(session, project_id, spec.baseline_run_id or "")
    locked = await _find_locked_paths(session, run.id)
    pictures = {
        job.job_key: SourceScene(job_key=job.job_key, path=path)
        for job in run.jobs
        if (path := locked.get(job.id) or _winner_path(job)) is not None
    }
    if spec.scene_refs is None:
        if not pictures:
            raise PlanningPreflightError(
                f"Field 'baseline_run_id': run {run.id} has neither a locked picture nor a winner"
            )
        return run.id, tuple(pictures.values())
    job_keys = {job.job_key for job in run.jobs}
    for job_key in spec.scene_refs:
        if job_key not in job_keys:
            raise PlanningPreflightError(
                f"Field 'scene_refs': run {run.id} has no job '{job_key}';"
                f" with baseline_run_id, name its job keys: {_some(sorted(job_keys))}"
            )
        if job_key not in pictures:
            raise PlanningPreflightError(
                f"Field 'scene_refs': job '{job_key}' of run {run.id} has neither a locked picture nor a"
                " winner; select one of its candidates"
            )
    return run.id, tuple(pictures[job_key] for job_key in spec.scene_refs)


async def _source_run(session: AsyncSession, project_id: UUID, identifier: str) -> Run:
    run = await session.scalar(
        select(Run)
        .where(Run.project_id == project_id, Run.id == row_id(identifier))
        .options(selectinload(Run.jobs).selectinload(RunJob.candidates))
    )
    if run is None:
        raise PlanningPreflightError(
            f"Field 'baseline_run_id': the project has no run with the id '{identifier}'"
        )
    if run.status in OPEN_RUN_STATUSES:
        raise PlanningPreflightError(
            f"Field 'baseline_run_id': run {run.id} is {run.status}; wait until it has ended"
        )
    return run


async def _find_locked_paths(session: AsyncSession, run_id: UUID) -> dict[UUID, str]:
    """The most recently locked picture of each job of a run, whether still current or not."""
    statement = (
        select(Baseline.job_id, Baseline.path)
        .where(Baseline.run_id == run_id, Baseline.job_id.is_not(None))
        .order_by(Baseline.locked_at, Baseline.id)
    )
    return {job_id: path for job_id, path in await session.execute(statement) if job_id is not None}


def _winner_path(job: RunJob) -> str | None:
    """The selected candidate's picture before post-processing."""
    return next(
        (
            candidate.output_path
            for candidate in job.candidates
            if candidate.candidate_index == job.selected_candidate_index
        ),
        None,
    )


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN_KEYS])
    return f"{shown}, ..." if len(names) > _SHOWN_KEYS else shown
