"""Put the candidates of a job in order, and say why."""

import msgspec

from kroma.pipeline.execution.explain import placed_sentence
from kroma.pipeline.execution.image_job import Candidate, ImageJob
from kroma.pipeline.execution.step_tools import StepTools
from kroma.pipeline.execution.steps.errors import NoUsableCandidateError
from kroma.runs.models import CandidateStatus


async def rank(job: ImageJob, _: StepTools) -> ImageJob:
    """Order the candidates best first.

    Passed before rejected, then fewer hard failures, fewer soft warnings, less color excess, the
    higher quality score, the lower index: docs/quality.md says why in this order.

    Raises:
        NoUsableCandidateError: No candidate passed the quality check.
    """
    best_first = sorted(job.candidates, key=rank_key)
    best = best_first[0]
    if best.status is not CandidateStatus.DONE:
        raise NoUsableCandidateError(tried=len(best_first), reason=best.reason)
    ranked = tuple(
        msgspec.structs.replace(candidate, reason=placed_sentence(candidate, best_first))
        for candidate in best_first
    )
    return msgspec.structs.replace(job, candidates=ranked)


def rank_key(candidate: Candidate) -> tuple[bool, int, int, float, float, int]:
    """Smaller is better."""
    return (
        candidate.status is not CandidateStatus.DONE,
        candidate.failures,
        candidate.warnings,
        candidate.rank.avg_chroma_exceed,
        -candidate.quality_score,
        candidate.index,
    )
