"""Put the candidates of a job in order, and say why."""

import msgspec

from kroma.pipeline.image_job import Candidate, ImageJob
from kroma.pipeline.steps.errors import NoUsableCandidateError
from kroma.pipeline.tools import StepTools
from kroma.runs.models import CandidateStatus


async def rank(job: ImageJob, _: StepTools) -> ImageJob:
    """Order the candidates best first.

    Passed before rejected, then fewer hard failures, fewer soft warnings, less colour excess,
    the lower index (pipeline.md 6.3).

    Raises:
        NoUsableCandidateError: No candidate passed the quality check.
    """
    best_first = sorted(job.candidates, key=rank_key)
    best = best_first[0]
    if best.status is not CandidateStatus.DONE:
        raise NoUsableCandidateError(tried=len(best_first), reason=best.reason)
    passed = sum(candidate.status is CandidateStatus.DONE for candidate in best_first)
    ranked = tuple(
        msgspec.structs.replace(candidate, reason=_reason(candidate, best_first, place=place, passed=passed))
        for place, candidate in enumerate(best_first, start=1)
    )
    return msgspec.structs.replace(job, candidates=ranked)


def rank_key(candidate: Candidate) -> tuple[bool, int, int, float, int]:
    """Smaller is better."""
    ranked = candidate.rank
    return (
        candidate.status is not CandidateStatus.DONE,
        ranked.hard_failures,
        ranked.soft_warnings,
        ranked.avg_chroma_exceed,
        candidate.index,
    )


def _reason(candidate: Candidate, best_first: list[Candidate], *, place: int, passed: int) -> str:
    if candidate.status is not CandidateStatus.DONE:
        return candidate.reason
    if passed == 1:
        return f"Chosen: the only candidate that passed. {candidate.reason}"
    best, second = best_first[:2]
    if candidate is best:
        return f"Chosen: {_won_by(best, second)}. {candidate.reason}"
    return f"Place {place}: {_lost_by(candidate, best)}. {candidate.reason}"


def _won_by(best: Candidate, second: Candidate) -> str:
    if best.rank.soft_warnings < second.rank.soft_warnings:
        return "fewest warnings"
    if best.rank.avg_chroma_exceed < second.rank.avg_chroma_exceed:
        return "least colour above the threshold"
    return f"equal to candidate {second.index}, lower index"


def _lost_by(candidate: Candidate, best: Candidate) -> str:
    if candidate.rank.soft_warnings > best.rank.soft_warnings:
        return f"more warnings than candidate {best.index}"
    if candidate.rank.avg_chroma_exceed > best.rank.avg_chroma_exceed:
        return f"more colour above the threshold than candidate {best.index}"
    return f"equal to candidate {best.index}, higher index"
