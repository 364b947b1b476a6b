"""Body of ``/api/projects/{slug}/assets/{asset_id}/lineage``."""

from typing import Annotated, Any, Self

import msgspec
from msgspec import Meta

from kroma.lineage.family import Relative
from kroma.lineage.queries import CandidateEntry, Cost, Lineage
from kroma.runlog.schema import InputLog, WordsLog
from kroma.runs.models import Run, RunCandidate
from kroma_api.schemas.assets import AssetView
from kroma_api.schemas.costs import CostEventView
from kroma_api.schemas.provider_calls import ProviderCallView
from kroma_api.schemas.quality import QualityReportView
from kroma_api.schemas.reply import Id, OptionalId, Reply, RowView, Stamp, shown_id

Cut = Annotated[bool, Meta(description="Whether there are more than the 500 that are listed")]


class RelativeView(msgspec.Struct, frozen=True, kw_only=True):
    """A picture that is linked with the asset, directly or over others."""

    asset: AssetView
    link_type: str
    """The type of the link to `next_asset_id`: `derived_from`, `variant_of`, `mask_for` or `reference_of`."""
    distance: int
    """Links between the two, from 1."""
    next_asset_id: Id
    """The asset on the way, one link nearer."""

    @classmethod
    def of(cls, relative: Relative) -> Self:
        return cls(
            asset=AssetView.of(relative.asset),
            link_type=relative.link_type,
            distance=relative.distance,
            next_asset_id=str(relative.next_id),
        )


class LineageRunView(RowView, frozen=True, kw_only=True):
    """The run that made a picture."""

    id: Id
    run_mode: str
    status: str
    stage: str
    time_of_day: str
    weather: str
    run_log_path: str
    """The record of the run, below the project's root."""
    origin_run_id: OptionalId
    """The run that it repeats or continues."""
    origin_kind: str
    """How, like `retry` or `rerun`; or empty."""
    created_at: Stamp
    finished_at: Stamp


class LineageJobView(RowView, frozen=True, kw_only=True):
    """The job that a picture was made for."""

    id: Id
    job_key: str
    status: str
    selected_candidate_index: int | None
    final_output: str


class LineageCandidateView(RowView, frozen=True, kw_only=True):
    """The candidate that a picture is, or was made of."""

    id: Id
    candidate_index: int
    status: str
    output_path: str
    final_output_path: str
    reason: str
    """Why it stands where it stands among its job's candidates."""
    reused_from: OptionalId
    """The candidate of an earlier run whose picture this is: no call was made for it."""

    @classmethod
    def of(cls, candidate: RunCandidate, entry: CandidateEntry | None) -> Self:
        return cls.from_row(
            candidate,
            reason=entry.reason if entry else "",
            reused_from=shown_id(entry.reused_from if entry else None),
        )


class MakingView(msgspec.Struct, frozen=True, kw_only=True):
    """Who made a picture, and with what."""

    provider: str
    model: str
    seed: int | None
    """Null when it was not recorded."""
    size: str
    quality: str
    parameters: Any
    """What this variation is made of, named by the provider."""
    provider_request_id: str
    """The provider's own id of the call, or empty."""


class LineageReferenceView(msgspec.Struct, frozen=True, kw_only=True):
    """A picture that went in, as it was when it was read."""

    role: str
    """`scene`, `style` or `reference`."""
    ref: str
    """The reference as it was requested."""
    asset_id: Id
    rel_path: str
    sha256: str
    size_bytes: int
    mime_type: str
    width: int
    height: int

    @classmethod
    def of(cls, given: InputLog) -> Self:
        file = given.file
        return cls(
            role=given.role,
            ref=given.ref,
            asset_id=str(file.asset_id),
            rel_path=file.path,
            sha256=file.sha256,
            size_bytes=file.size_bytes,
            mime_type=file.mime_type,
            width=file.width,
            height=file.height,
        )


class PromptPartView(RowView, frozen=True, kw_only=True):
    """A text of the project, as it was when the run was planned."""

    id: Id
    name: str
    text: str
    updated_at: str
    """The time of the last change, which identifies the version: ISO 8601, UTC."""


class PromptView(msgspec.Struct, frozen=True, kw_only=True):
    """What a prompt was made of, beside the manifest's texts."""

    template: PromptPartView | None
    """With its variables, as they stood in it."""
    style_guide: PromptPartView | None
    characters: list[PromptPartView]

    @classmethod
    def of(cls, words: WordsLog) -> Self:
        return cls(
            template=None if words.template is None else PromptPartView.from_row(words.template),
            style_guide=None if words.style_guide is None else PromptPartView.from_row(words.style_guide),
            characters=[PromptPartView.from_row(character) for character in words.characters],
        )


class LineageCostView(msgspec.Struct, frozen=True, kw_only=True):
    """What a picture's candidate cost."""

    total_usd: float | None
    """The total of the events; null when a price is unknown, which does not mean zero."""
    cost_events: list[CostEventView]
    """The cost events of the candidate, and those of its job that name no candidate."""
    provider_calls: list[ProviderCallView]
    """Its calls that cost money, in order."""

    @classmethod
    def of(cls, cost: Cost, calls: list[ProviderCallView]) -> Self:
        return cls(
            total_usd=None if cost.total_usd is None else float(cost.total_usd),
            cost_events=[CostEventView.from_row(event) for event in cost.events],
            provider_calls=calls,
        )


class LineageResponse(Reply, frozen=True, kw_only=True):
    """How a picture came to be; what nobody recorded is null or empty."""

    asset: AssetView
    parents: list[RelativeView]
    """What it was made of or after, the nearest first."""
    parents_cut: Cut
    children: list[RelativeView]
    """What was made of or after it, the nearest first."""
    children_cut: Cut
    run: LineageRunView | None
    job: LineageJobView | None
    candidate: LineageCandidateView | None
    prompt: str
    """What the provider was told, every variable expanded."""
    prompt_made_of: PromptView | None
    """Null where the prompt is the manifest's texts alone."""
    made_by: MakingView | None
    references: list[LineageReferenceView]
    """The pictures that went in, with their checksums."""
    cost: LineageCostView | None
    """Null also for a token that may only review."""
    scores: list[QualityReportView]
    """Every report on the asset or its candidate, oldest first."""

    @classmethod
    def of(cls, lineage: Lineage) -> Self:
        run, job, candidate, entry = lineage.run, lineage.job, lineage.candidate, lineage.entry
        calls = [ProviderCallView.of(call) for call in lineage.calls]
        return cls(
            asset=AssetView.of(lineage.asset),
            parents=[RelativeView.of(one) for one in lineage.parents.relatives],
            parents_cut=lineage.parents.is_cut,
            children=[RelativeView.of(one) for one in lineage.children.relatives],
            children_cut=lineage.children.is_cut,
            run=None if run is None else LineageRunView.from_row(run),
            job=None if job is None else LineageJobView.from_row(job),
            candidate=None if candidate is None else LineageCandidateView.of(candidate, entry),
            prompt="" if job is None else job.prompt_text,
            prompt_made_of=None if lineage.words is None else PromptView.of(lineage.words),
            made_by=_making(run, candidate, entry),
            references=[] if candidate is None else [LineageReferenceView.of(one) for one in lineage.inputs],
            cost=None if lineage.cost is None else LineageCostView.of(lineage.cost, calls),
            scores=[QualityReportView.from_row(report) for report in lineage.reports],
        )


def _making(
    run: Run | None, candidate: RunCandidate | None, entry: CandidateEntry | None
) -> MakingView | None:
    if run is None or candidate is None:
        return None
    known = entry or CandidateEntry()
    return MakingView(
        provider=known.provider or run.provider_code or "",
        model=known.model or run.model_name or "",
        seed=known.seed,
        size=run.image_size or "",
        quality=run.image_quality or "",
        parameters=known.parameters,
        provider_request_id=known.provider_request_id or "",
    )
