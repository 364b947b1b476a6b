from enum import StrEnum

import msgspec

from kroma.imaging.measures.settings import CheckSettings, Verdict


class Outcome(StrEnum):
    """How a check ended."""

    PASSED = "passed"
    WARNING = "warning"
    FAILED = "failed"
    NOT_APPLICABLE = "not_applicable"
    NOT_CONFIGURED = "not_configured"


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """One check of one candidate."""

    name: str
    outcome: Outcome
    score: float | None = None
    """0 to 1, rounded to 4 decimals; None if nothing was measured."""
    threshold: float | None = None
    verdict: str = Verdict.SOFT
    weight: float = 0.0
    reason: str = ""


class QualityReport(msgspec.Struct, frozen=True, kw_only=True):
    """All checks of one candidate."""

    score: float | None = None
    """The weighted mean of the scores, 0 to 1, rounded to 4 decimals; None if nothing was measured."""
    failures: int = 0
    """Failed checks with a hard verdict, without the color guard."""
    warnings: int = 0
    """The same with a soft verdict."""
    checks: list[CheckResult] = []

    def find(self, name: str) -> CheckResult | None:
        """The result of a check, if it was made."""
        return next((check for check in self.checks if check.name == name), None)


def graded(
    name: str, score: float, settings: CheckSettings, reason: str, *, threshold: float | None = None
) -> CheckResult:
    """The result of a check with a score, which is clipped to 0..1; ``threshold`` overrides the settings'."""
    rounded = round(min(1.0, max(0.0, score)), 4)
    least = settings.threshold if threshold is None else threshold
    outcome = Outcome.PASSED
    if rounded < least:
        outcome = Outcome.FAILED if settings.verdict is Verdict.HARD else Outcome.WARNING
    return CheckResult(
        name=name,
        outcome=outcome,
        score=rounded,
        threshold=least,
        verdict=settings.verdict,
        weight=settings.weight,
        reason=reason,
    )


def unmeasured(
    name: str, settings: CheckSettings, reason: str, *, outcome: Outcome = Outcome.NOT_APPLICABLE
) -> CheckResult:
    """The result of a check that could not be made."""
    return CheckResult(
        name=name, outcome=outcome, threshold=settings.threshold, verdict=settings.verdict, reason=reason
    )


def summed(checks: list[CheckResult]) -> QualityReport:
    """The report over all checks; the color guard has its own counters."""
    own = [check for check in checks if check.name != "color"]
    weighed = [(check.score, check.weight) for check in checks if check.score is not None and check.weight]
    total = sum(weight for _, weight in weighed)
    score = sum(score * weight for score, weight in weighed) / total if total else None
    return QualityReport(
        score=None if score is None else round(score, 4),
        failures=sum(check.outcome is Outcome.FAILED for check in own),
        warnings=sum(check.outcome is Outcome.WARNING for check in own),
        checks=checks,
    )
