"""Shows the file that a follow-up run made of a selected candidate where the candidate was selected."""

from sqlalchemy import func, select, update

from kroma.db.engine import Database
from kroma.pipeline.planning.plan import RunPlan
from kroma.runlog.schema import CandidateLog
from kroma.runs.events import write_event
from kroma.runs.models import Run, RunCandidate, RunJob


async def hand_over(db: Database, run: Run, plan: RunPlan) -> None:
    """Show the file that a run made of a chosen candidate at that candidate, and at the job it was chosen in.

    Doing it again changes nothing. A job that has another candidate selected by now keeps that one's file.
    """
    for ordinal, planned in enumerate(plan.jobs):
        if planned.chosen is not None:
            await _hand_over_job(db, run, ordinal, planned.chosen)


async def _hand_over_job(db: Database, run: Run, ordinal: int, chosen: CandidateLog) -> None:
    async with db.transaction() as session:
        job = await session.scalar(
            select(RunJob)
            .join(RunCandidate, RunCandidate.job_id == RunJob.id)
            .where(RunCandidate.id == chosen.id)
            .with_for_update(of=RunJob)
        )
        made = await session.scalar(
            select(RunCandidate)
            .join(RunJob, RunJob.id == RunCandidate.job_id)
            .where(RunJob.run_id == run.id, RunJob.ordinal == ordinal)
        )
        if job is None or made is None or made.final_output_path in {None, "", made.output_path}:
            return
        changed = await session.scalar(
            update(RunCandidate)
            .where(
                RunCandidate.id == chosen.id,
                func.coalesce(RunCandidate.final_output_path, "") != made.final_output_path,
            )
            .values(final_output_path=made.final_output_path, final_asset_id=made.final_asset_id)
            .returning(RunCandidate.id)
            .execution_options(synchronize_session=False)
        )
        if changed is None:
            return
        if job.selected_candidate_index == chosen.candidate_index:
            job.final_output, job.final_asset_id = made.final_output_path, made.final_asset_id
            await session.flush()
        what = {
            "notice": "candidate_post_processed",
            "job_id": str(job.id),
            "job_key": job.job_key,
            "candidate_index": chosen.candidate_index,
            "by_run_id": str(run.id),
            "final_output": made.final_output_path,
        }
        await write_event(session, job.run_id, "notice", what)
