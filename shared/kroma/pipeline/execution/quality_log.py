"""The checks over all candidates of a run, for its log."""

from collections.abc import Iterable, Sequence
from statistics import fmean

from msgspec import UNSET

from kroma.imaging.measures.report import CheckResult, Outcome, QualityReport
from kroma.imaging.measures.settings import QualitySettings
from kroma.runlog.schema import CheckRunLog, JobLog, QualityRunLog


def run_quality(settings: QualitySettings, jobs: Sequence[JobLog]) -> QualityRunLog:
    """Counts and scores per check; a candidate that could not be read counts in none."""
    reports = [report for job in jobs for report in _reports(job)]
    by_name: dict[str, list[CheckResult]] = {}
    for report in reports:
        for check in report.checks:
            by_name.setdefault(check.name, []).append(check)
    return QualityRunLog(
        settings=settings,
        candidates=len(reports),
        failures=sum(report.failures for report in reports),
        warnings=sum(report.warnings for report in reports),
        mean_score=_mean(report.score for report in reports),
        checks={name: _check(results) for name, results in by_name.items()},
    )


def _reports(job: JobLog) -> list[QualityReport]:
    if job.candidates is UNSET:
        return []
    return [candidate.quality for candidate in job.candidates if candidate.quality is not UNSET]


def _check(results: list[CheckResult]) -> CheckRunLog:
    outcomes = [result.outcome for result in results]
    measured = [result.score for result in results if result.score is not None]
    return CheckRunLog(
        passed=outcomes.count(Outcome.PASSED),
        warnings=outcomes.count(Outcome.WARNING),
        failed=outcomes.count(Outcome.FAILED),
        unmeasured=len(results) - len(measured),
        mean_score=_mean(measured),
        lowest_score=min(measured, default=None),
    )


def _mean(scores: Iterable[float | None]) -> float | None:
    known = [score for score in scores if score is not None]
    return round(fmean(known), 4) if known else None
