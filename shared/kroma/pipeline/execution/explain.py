"""Why a candidate stands where it stands, in one sentence."""

from typing import Final

from kroma.imaging.measures.report import CheckResult, Outcome, QualityReport
from kroma.old_names import current_name
from kroma.pipeline.execution.image_job import Candidate
from kroma.runs.models import CandidateStatus

UNREADABLE: Final = "the picture could not be read"
_SHOWN: Final = {"color", "sharpness", "structure", "style", "drift", "identity"}
"""Checks that a sentence names although they passed."""


def checked_sentence(candidate: Candidate) -> str:
    """What the checks found, before the candidate has a place."""
    word = "Rejected" if candidate.status is CandidateStatus.FAILED_OUTPUT_GUARD else "Passed"
    return f"{word}: {_findings(candidate.quality)}."


def placed_sentence(candidate: Candidate, best_first: list[Candidate]) -> str:
    """What the checks found and how it compares; a rejected or failed candidate keeps its own words."""
    if candidate.status is not CandidateStatus.DONE:
        return candidate.reason
    best = best_first[0]
    findings = _findings(candidate.quality)
    if candidate is not best:
        context = best_first.index(candidate) + 1
        return f"Place {context}: {_difference(candidate, best, lost=True)}; {findings}."
    second = next((c for c in best_first[1:] if c.status is CandidateStatus.DONE), None)
    why = "the only candidate that passed" if second is None else _difference(best, second, lost=False)
    return f"Chosen: {why}; {findings}."


def _difference(one: Candidate, other: Candidate, *, lost: bool) -> str:
    """The first thing in which two candidates differ, in the order in which they are ranked."""
    against = f"candidate {other.index}"
    warnings = [c.warnings for c in (one, other)]
    if warnings[0] != warnings[1]:
        word = f"more warnings than {against}" if lost else "fewest warnings"
        return f"{word} ({warnings[0]} against {warnings[1]})"
    excess = [c.rank.avg_chroma_exceed for c in (one, other)]
    if excess[0] != excess[1]:
        word = "more" if lost else "least"
        than = f" than {against}" if lost else ""
        return f"{word} color above the threshold{than} ({excess[0]:g} against {excess[1]:g})"
    scores = [c.quality_score for c in (one, other)]
    if scores[0] != scores[1]:
        word = f"lower quality than {against}" if lost else "highest quality"
        return f"{word} ({scores[0]:.2f} against {scores[1]:.2f})"
    return f"equal to {against}, {'higher' if lost else 'lower'} index"


def _findings(report: QualityReport | None) -> str:
    if report is None or not report.checks:
        return UNREADABLE
    wrong = [check for check in report.checks if check.outcome in {Outcome.FAILED, Outcome.WARNING}]
    shown = [check for check in report.checks if check in wrong or _is_shown(check)]
    return ", ".join(f"{_mark(check)}{check.reason}" for check in shown)


def _is_shown(check: CheckResult) -> bool:
    told = check.score is not None or check.outcome is Outcome.NOT_CONFIGURED
    return current_name(check.name) in _SHOWN and told


def _mark(check: CheckResult) -> str:
    if check.outcome is Outcome.FAILED:
        return f"{check.name} failed with "
    return f"{check.name} warns of " if check.outcome is Outcome.WARNING else ""
