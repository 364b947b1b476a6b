"""Bodies of ``/api/projects/{slug}/runs``."""

from collections.abc import Iterable
from typing import Any, Literal, Self

import msgspec

from kroma.pipeline.control.progress import RunProgress
from kroma.pipeline.planning.postprocess_config import PostprocessSwitches
from kroma.runs.models import OPEN_RUN_STATUSES, Run, RunCandidate, RunEvent, RunJob, RunStatus
from kroma_api.schemas.reply import (
    Id,
    ListReply,
    OptionalId,
    Reply,
    RowView,
    Stamp,
    shown_json,
    shown_stamp,
)


class RunView(RowView, frozen=True, kw_only=True):
    """One triggered execution."""

    id: Id
    project_id: Id
    run_mode: str
    """``dry`` or ``run``."""
    status: str
    """``queued``, ``running``, ``canceling``; at the end ``ok``, ``partial``, ``failed`` or ``canceled``."""
    done: bool
    """Whether the run has ended, well or not."""
    stage: str
    time_of_day: str
    weather: str
    model_name: str
    provider_code: str
    settings_snapshot_json: Any
    """What it was configured by."""
    started_at: Stamp
    finished_at: Stamp
    created_at: Stamp
    run_log_path: str
    """The record of the run, below the project's root."""
    image_size: str
    image_quality: str
    error: str
    """Why the run failed; empty otherwise."""
    error_kind: str
    error_code: str

    @classmethod
    def of(cls, run: Run) -> Self:
        return cls.from_row(run, done=run.status not in OPEN_RUN_STATUSES)


class CountsView(msgspec.Struct, frozen=True, kw_only=True):
    """How many there are, by status; a status that none has is missing."""

    jobs: dict[str, int]
    candidates: dict[str, int]


class ProgressView(msgspec.Struct, frozen=True, kw_only=True):
    """How far a run is."""

    done: int
    """Jobs that have ended, well or not."""
    total: int
    fraction: float
    """0 to 1; 1 once the run has ended."""


class PhaseView(msgspec.Struct, frozen=True, kw_only=True):
    """From the first start to the last end, over all jobs."""

    started_at: Stamp
    finished_at: Stamp


class OriginView(msgspec.Struct, frozen=True, kw_only=True):
    """The run that this one repeats or goes on from."""

    run_id: Id
    kind: str
    """``retry``, ``rerun`` or ``select``."""


class RunSpendView(msgspec.Struct, frozen=True, kw_only=True):
    """What a run costs, in USD."""

    estimated_usd: float | None
    """Before it began; null is unknown."""
    spent_usd: float
    """Settled."""
    held_usd: float
    """For what is still to be done, and for calls whose answer was lost."""
    unknown_price_calls: int
    """Calls whose cost nobody knows; they are in neither sum."""


class RunDetail(RunView, frozen=True, kw_only=True):
    """One triggered execution, and how far it is."""

    counts: CountsView
    progress: ProgressView
    phases: dict[str, PhaseView]
    """``queued``, then each step as its jobs began it (``generate``, ``check_quality``, ``rank``), then
    ``finishing``."""
    queue_position: int | None
    """Jobs ahead that a worker could take; null when the run does not wait in the queue."""
    attempt: int
    """The highest of its jobs'; 0 before the first."""
    reason: str
    """Why it waits, or why it failed; empty otherwise."""
    reason_code: str
    origin: OriginView | None
    spend: RunSpendView | None
    """Null for a token that may only review."""

    @classmethod
    def showing(cls, run: Run, progress: RunProgress) -> Self:
        shown = RunView.of(run)
        return cls(
            **msgspec.structs.asdict(shown),
            counts=CountsView(jobs=dict(progress.jobs), candidates=dict(progress.candidates)),
            progress=_progress_view(progress, has_ended=shown.done),
            phases={
                name: PhaseView(
                    started_at=shown_stamp(phase.started_at), finished_at=shown_stamp(phase.finished_at)
                )
                for name, phase in progress.phases.items()
            },
            queue_position=progress.queue_position,
            attempt=progress.attempt,
            reason=progress.reason.text,
            reason_code=progress.reason.code,
            origin=_origin_view(run),
            spend=RunSpendView(
                estimated_usd=None if run.estimated_usd is None else float(run.estimated_usd),
                spent_usd=float(progress.spend.spent_usd),
                held_usd=float(progress.spend.held_usd),
                unknown_price_calls=progress.spend.unknown_price_calls,
            ),
        )


def _progress_view(progress: RunProgress, *, has_ended: bool) -> ProgressView:
    done, total = progress.done(has_ended=has_ended), progress.total
    fraction = 1.0 if has_ended else done / total if total else 0.0
    return ProgressView(done=done, total=total, fraction=round(fraction, 4))


def _origin_view(run: Run) -> OriginView | None:
    if run.origin_run_id is None:
        return None
    return OriginView(run_id=str(run.origin_run_id), kind=run.origin_kind or "")


class CandidateView(RowView, frozen=True, kw_only=True):
    """One image made for a job."""

    id: Id
    job_id: Id
    candidate_index: int
    """From 1."""
    status: str
    output_asset_id: OptionalId
    final_asset_id: OptionalId
    output_path: str
    final_output_path: str
    rank_hard_failures: int
    """Findings that reject the picture."""
    rank_soft_warnings: int
    """Findings that only rank it lower."""
    rank_avg_chroma_exceed: float
    """The average amount by which chroma exceeds the limit."""
    meta_json: Any
    """Free."""
    created_at: Stamp


class JobView(RowView, frozen=True, kw_only=True):
    """One image to make, with its candidates."""

    id: Id
    run_id: Id
    job_key: str
    """Stage, number and scene, like ``style_1_harbor``."""
    status: str
    prompt_text: str
    selected_candidate_index: int | None
    """The winner; null until there is one."""
    final_asset_id: OptionalId
    final_output: str
    """The winner's path."""
    error: str
    """Why the job failed; empty otherwise."""
    error_kind: str
    error_code: str
    meta_json: Any
    created_at: Stamp
    started_at: Stamp
    finished_at: Stamp
    available_at: Stamp
    """Not to be begun before; empty is at once."""
    attempt: int
    """Attempts so far."""
    max_attempts: int
    candidates: list[CandidateView]

    @classmethod
    def of(cls, job: RunJob, candidates: Iterable[RunCandidate]) -> Self:
        return cls.from_row(job, candidates=[CandidateView.from_row(candidate) for candidate in candidates])


class ListRunsResponse(ListReply, frozen=True, kw_only=True):
    """Runs, newest first."""

    runs: list[RunView]


class RunResponse(Reply, frozen=True, kw_only=True):
    """A run with its jobs, in plan order."""

    run: RunDetail
    jobs: list[JobView]


class ListJobsResponse(ListReply, frozen=True, kw_only=True):
    """The jobs of a run, in plan order."""

    run_id: str
    """The id given in the path."""
    jobs: list[JobView]


class RunEventView(msgspec.Struct, frozen=True, kw_only=True):
    """One change of a run, its jobs or its candidates."""

    id: int
    """Rises by 1 within the run; `after` and `Last-Event-ID` take it."""
    kind: str
    """``run``, ``job``, ``step`` or ``notice``."""
    created_at: Stamp
    data: Any
    """What changed: ``status`` of a run or a job, ``step`` of a job, a notice's own fields."""

    @classmethod
    def of(cls, event: RunEvent) -> Self:
        return cls(
            id=event.seq,
            kind=event.kind,
            created_at=shown_stamp(event.created_at),
            data=shown_json(event.data_json),
        )


class ListRunEventsResponse(ListReply, frozen=True, kw_only=True):
    """What happened to a run, oldest first."""

    run_id: str
    """The id given in the path."""
    events: list[RunEventView]


class RunLogResponse(Reply, frozen=True, kw_only=True):
    """The record of a run that has ended."""

    run_id: str
    """The id given in the path."""
    run_log: Any
    """The log file as it is, of whichever version wrote it."""


class TriggerRunRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``POST /api/projects/{slug}/runs/trigger``.

    The scenes come from exactly one of ``input``, ``scene_refs`` and ``baseline_run_id``; with the last,
    ``scene_refs`` may pick some of its jobs.
    """

    mode: str | None = None
    """``dry`` (default) plans and logs; ``run`` makes pictures."""
    confirm_spend: bool | None = None
    """Must be true for ``run``."""
    project_root: str | None = None
    """Refused: the project's storage decides."""
    input: str | None = None
    """A picture or a folder of pictures, relative to the project root."""
    scene_refs: list[str] | None = None
    """Pictures, relative to the project root; with `baseline_run_id` the keys of its jobs to go on from."""
    style_refs: list[str] | None = None
    """Pictures of the style; the manifest's when absent."""
    stage: str | None = None
    """``style`` (default), ``time``, ``weather`` or ``character``."""
    time: str | None = None
    """``day`` (default) or ``night``."""
    weather: str | None = None
    """``clear`` (default) or ``rain``."""
    candidates: int | None = None
    """1 to 6 per scene; absent takes the manifest's."""
    provider: str | None = None
    """Who makes the pictures: `local`, `openai` or `fake`; the installation's when absent."""
    model: str | None = None
    """One of the provider's models; its default when absent."""
    size: str | None = None
    """`<width>x<height>` in pixels, like `1024x1536`; some providers have a few only."""
    quality: str | None = None
    """`low`, `medium` or `high`, for providers that take one."""
    seed: int | None = None
    """0 to 9223372036854775807: the same again from a provider that can; drawn when absent."""
    storage_sync_s3: bool | None = None
    """Copy what was made to S3 after a run."""
    baseline_run_id: str | None = None
    """A run that has ended: what was locked of it, else its winners, are the scenes."""
    style_guide_id: str | None = None
    """Its instructions join the prompt."""
    prompt_template_id: str | None = None
    """Stands in place of the manifest's texts; its `{variables}` are replaced, unknown ones refused."""
    reference_set_ids: list[str] | None = None
    """Texts of their items join the prompt, their pictures go to the provider, heaviest first."""
    character_ids: list[str] | None = None
    """Their prompt texts join the prompt; absent, stage `character` takes all characters of the project."""
    postprocess: PostprocessSwitches | None = None
    """What to do with the winners, over the settings; false turns off what they turn on."""
    quote_token: str | None = None
    """The token from `POST runs/quote`; the run is refused if it differs from the quote."""


class ValidateConfigRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``POST /api/projects/{slug}/runs/validate-config``."""

    project_root: str | None = None
    """Refused: the project's storage decides."""
    app_settings_path: str | None = None
    """A TOML or JSON file, relative to the data directory; one that is missing counts as empty."""
    project_settings_path: str | None = None
    """A JSON file, relative to the project root; one that is missing counts as empty."""
    manifest_path: str | None = None
    """A JSON file, relative to the data directory, which must exist."""
    postprocess_config_path: str | None = None
    """A JSON file, relative to the data directory, which must exist."""


class ConfigSummaryView(RowView, frozen=True, kw_only=True):
    """What a run of the project would be configured by."""

    app_settings_loaded: bool
    """Whether the file set anything."""
    project_settings_loaded: bool
    """Whether the file set anything."""
    resolved_manifest_path: str | None
    """The winning text as written."""
    resolved_postprocess_config_path: str | None
    """The winning text as written."""


class ValidateConfigResponse(Reply, frozen=True, kw_only=True):
    """The configuration holds."""

    summary: ConfigSummaryView


class PipelineTriggerView(msgspec.Struct, frozen=True, kw_only=True):
    """The run as the original's pipeline command would report it."""

    mode: str
    """``dry`` or ``run``."""
    status_code: int
    """0, or 1 once the run has failed."""
    stdout: str
    """Report lines, once the run has ended."""
    stderr: str
    """Why it failed; notes otherwise."""
    adapter: Literal["arq"] = "arq"

    @classmethod
    def of(cls, run: Run) -> Self:
        has_failed = run.status in {RunStatus.FAILED, RunStatus.CANCELED}
        return cls(
            mode=run.run_mode,
            status_code=1 if has_failed else 0,
            stdout=run.stdout,
            stderr=run.stderr or (run.error or "" if has_failed else ""),
        )


class RunLinks(msgspec.Struct, frozen=True, kw_only=True):
    """Links to related resources."""

    self: str
    """The run."""
    events: str
    """What happens to it."""
    cancel: str
    """Ends it early."""

    @classmethod
    def of(cls, run: Run) -> Self:
        """The addresses of a run that was triggered, so that it has a plan."""
        base = f"/api/projects/{run.plan_json['project_slug']}/runs/{run.id}"
        return cls(self=base, events=f"{base}/events", cancel=f"{base}/cancel")


class TriggerRunResponse(Reply, frozen=True, kw_only=True):
    """The run, queued or, where ``Prefer: wait`` lasted, ended."""

    pipeline_trigger: PipelineTriggerView
    run: RunDetail
    links: RunLinks

    @classmethod
    def of(cls, run: Run, progress: RunProgress) -> Self:
        return cls(
            pipeline_trigger=PipelineTriggerView.of(run),
            run=RunDetail.showing(run, progress),
            links=RunLinks.of(run),
        )
