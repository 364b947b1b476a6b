"""Why a candidate stands where it stands, in one sentence that a person can read."""

from uuid import uuid4

from kroma.imaging.measures.report import CheckResult, Outcome, QualityReport, summed
from kroma.pipeline.execution.explain import checked_sentence, placed_sentence
from kroma.pipeline.execution.image_job import Candidate
from kroma.runlog.schema import RankLog
from kroma.runs.models import CandidateStatus


def check(name: str, score: float | None, reason: str, outcome: Outcome = Outcome.PASSED) -> CheckResult:
    return CheckResult(name=name, outcome=outcome, score=score, weight=1.0, reason=reason)


def candidate(
    index: int, *checks: CheckResult, excess: float = 0.0, status: CandidateStatus = CandidateStatus.DONE
) -> Candidate:
    return Candidate(
        id=uuid4(),
        index=index,
        status=status,
        seed=0,
        provider="fake",
        rank=RankLog(avg_chroma_exceed=excess),
        quality=summed(list(checks)),
        reason="as it was",
    )


GRAY = check("color", 1.0, "color 0.5 against a threshold of 2")
SHARP = check("sharpness", 0.97, "97% as sharp as the scene")
BLURRED = check("sharpness", 0.4, "40% as sharp as the scene", Outcome.WARNING)


def test_what_passed_is_named_and_what_failed_too() -> None:
    assert checked_sentence(candidate(1, GRAY, SHARP)) == (
        "Passed: color 0.5 against a threshold of 2, 97% as sharp as the scene."
    )
    blank = check("blank", 0.0, "contrast of 0.3 levels", Outcome.FAILED)
    rejected = candidate(1, GRAY, blank, status=CandidateStatus.FAILED_OUTPUT_GUARD)
    assert checked_sentence(rejected) == (
        "Rejected: color 0.5 against a threshold of 2, blank failed with contrast of 0.3 levels."
    )


def test_a_check_of_an_earlier_version_is_named_too() -> None:
    color = check("color", 1.0, "color 0.5 against a threshold of 2")

    assert checked_sentence(candidate(1, color)) == "Passed: color 0.5 against a threshold of 2."


def test_the_winner_says_by_what_it_won() -> None:
    best, second = candidate(2, GRAY, SHARP), candidate(1, GRAY, BLURRED)
    assert placed_sentence(best, [best, second]) == (
        "Chosen: fewest warnings (0 against 1);"
        " color 0.5 against a threshold of 2, 97% as sharp as the scene."
    )
    assert placed_sentence(second, [best, second]) == (
        "Place 2: more warnings than candidate 2 (1 against 0);"
        " color 0.5 against a threshold of 2, sharpness warns of 40% as sharp as the scene."
    )


def test_less_color_then_quality_then_the_index_decides() -> None:
    tinted = candidate(1, SHARP, excess=3.5)
    gray = candidate(2, SHARP)
    assert placed_sentence(gray, [gray, tinted]).startswith(
        "Chosen: least color above the threshold (0 against 3.5);"
    )
    softer = candidate(1, check("sharpness", 0.8, "80% as sharp as the scene"))
    assert placed_sentence(gray, [gray, softer]).startswith("Chosen: highest quality (0.97 against 0.80);")
    assert placed_sentence(softer, [gray, softer]).startswith(
        "Place 2: lower quality than candidate 2 (0.80 against 0.97);"
    )
    equal = candidate(3, SHARP)
    assert placed_sentence(equal, [gray, equal]).startswith("Place 2: equal to candidate 2, higher index;")


def test_an_only_candidate_and_a_rejected_one_say_so() -> None:
    best = candidate(1, SHARP)
    failed = candidate(2, status=CandidateStatus.FAILED)
    assert placed_sentence(best, [best, failed]).startswith("Chosen: the only candidate that passed;")
    assert placed_sentence(failed, [best, failed]) == "as it was"
    unread = Candidate(
        id=uuid4(), index=1, status=CandidateStatus.FAILED_OUTPUT_GUARD, seed=0, provider="fake"
    )
    assert checked_sentence(unread) == "Rejected: the picture could not be read."


def test_a_missing_face_model_is_never_passed_over() -> None:
    asked = check("identity", None, "no face model is configured", Outcome.NOT_CONFIGURED)
    assert "no face model is configured" in checked_sentence(candidate(1, GRAY, asked))


def test_a_report_without_checks_says_that_nothing_was_read() -> None:
    old = candidate(1)
    assert old.quality == QualityReport()
    assert placed_sentence(old, [old]).endswith("the picture could not be read.")
