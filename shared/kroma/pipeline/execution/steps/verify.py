"""Check what post-processing made against the picture it was made of."""

from typing import TYPE_CHECKING

import msgspec

from kroma.cpu import remote
from kroma.db.base import utc_now
from kroma.imaging.header import MAX_BYTES
from kroma.pipeline.execution.image_job import Candidate, ImageJob
from kroma.pipeline.execution.step_tools import StepTools
from kroma.postprocess.errors import ResultRejectedError
from kroma.postprocess.specs import Expected
from kroma.runlog.schema import ResultLog

if TYPE_CHECKING:
    from kroma.postprocess.compare import compare
else:
    compare = remote("kroma.postprocess.compare").compare


async def verify(job: ImageJob, tools: StepTools) -> ImageJob:
    """Compare each result with its generated picture: size, transparency, structure, mean color.

    Raises:
        ResultRejectedError: The winner's result is not what its source should have become.
    """
    checked = [await _check(job, candidate, tools) for candidate in job.candidates]
    winner = next((one for one in checked if job.winner is not None and one.id == job.winner.id), None)
    if winner is not None and winner.result is not None and not winner.result.is_good:
        raise ResultRejectedError(winner.result.reason)
    return msgspec.structs.replace(job, candidates=tuple(checked))


async def _check(job: ImageJob, candidate: Candidate, tools: StepTools) -> Candidate:
    if not candidate.derived or candidate.file is None or candidate.final is None:
        return candidate
    name = f"verify/{candidate.index}"
    recorded = await tools.recorder.find(name, Candidate)
    if recorded is not None:
        return recorded
    started_at = utc_now()
    source = await tools.store.get(candidate.file.path, limit_bytes=MAX_BYTES)
    result = await tools.store.get(candidate.final.path, limit_bytes=4 * MAX_BYTES)
    found = await tools.cpu.run(compare, source, result, expected(job, candidate))
    checked = msgspec.structs.replace(
        candidate,
        result=ResultLog(
            is_good=found.is_good,
            reason=found.reason,
            structure=found.structure,
            drift=found.drift,
            shown=found.shown,
        ),
    )
    await tools.recorder.record(name, checked, started_at=started_at, candidates=(checked,))
    return checked


def expected(job: ImageJob, candidate: Candidate) -> Expected:
    """What a candidate's chain should have done."""
    made = {one.step: one for one in candidate.derived}
    larger = made.get("upscale")
    cut = made.get("bg_remove")
    return Expected(
        scale=job.tools.upscale.scale if larger is not None and job.tools and job.tools.upscale else 1,
        is_cut_out=cut is not None,
        is_graded="color" in made,
        is_cropped=cut is not None and bool(cut.details.get("cropped")),
        keeps_alpha=all(one.file.mime_type != "image/jpeg" for one in candidate.derived),
    )
