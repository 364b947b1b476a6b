"""What each measure says of pictures that are known to be good or bad."""

import io
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from kroma.imaging.color_check import GuardSettings
from kroma.imaging.measures.candidate import check_candidate, with_duplicates
from kroma.imaging.measures.duplicate import nearest, thumbnail
from kroma.imaging.measures.facts import JobFacts, gather_facts
from kroma.imaging.measures.gray import gray_of
from kroma.imaging.measures.remote import check_candidate as check_in_process
from kroma.imaging.measures.remote import gather_facts as gather_in_process
from kroma.imaging.measures.report import CheckResult, QualityReport, graded, summed
from kroma.imaging.measures.request import CheckRequest, FactsRequest
from kroma.imaging.measures.settings import CheckSettings, QualitySettings, Verdict
from kroma.imaging.measures.sharpness import blur_effect, detail_kept
from kroma.imaging.measures.size import aspect_kept, size_kept, wanted_size
from kroma.imaging.measures.structure import structure_kept
from kroma.imaging.measures.style import look_of, quantiles, style_kept
from support.builders.factories import noise_png, png, scene_png

Rgb = NDArray[np.uint8]
SETTINGS = QualitySettings()
SCENE = scene_png(96, 144, seed=3)


def pixels(data: bytes) -> Rgb:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def encoded(picture: Rgb) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    return buffer.getvalue()


def inked(picture: Rgb) -> Rgb:
    """A plain drawing of a picture: dark lines over few tones."""
    gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    lines = cv2.adaptiveThreshold(gray, 255, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY, 7, 4)
    tones = (gray // 64) * 64 + 40
    return np.repeat(np.minimum(tones, lines)[..., None], 3, axis=2)


def moved(picture: Rgb, across: int, down: int) -> Rgb:
    return np.roll(picture, (down, across), (0, 1))


INK = inked(pixels(SCENE))


def facts(scene: bytes = SCENE, **more: Any) -> JobFacts:
    return gather_facts(FactsRequest(settings=SETTINGS, scene=("scene", scene), **more))


def checked(candidate: Rgb | bytes, given: JobFacts | None = None, **more: Any) -> QualityReport:
    data = candidate if isinstance(candidate, bytes) else encoded(candidate)
    parts: dict[str, Any] = {"guard": GuardSettings(), "settings": SETTINGS} | more
    return check_candidate(CheckRequest(name="c.png", data=data, **parts), given or facts()).report


def result(report: QualityReport, name: str) -> CheckResult:
    found = report.find(name)
    assert found is not None
    return found


def test_a_good_drawing_passes_every_check_that_applies() -> None:
    report = checked(INK)
    assert [check.outcome for check in report.checks if check.score is not None] == ["passed"] * 5
    assert (report.failures, report.warnings) == (0, 0)
    assert report.score is not None
    assert report.score > 0.9


@pytest.mark.parametrize(
    ("spoiled", "warns"),
    [
        pytest.param(np.full_like(INK, 240), {"blank", "sharpness", "structure"}, id="blank"),
        pytest.param(cv2.GaussianBlur(INK, (0, 0), 2.5), {"sharpness"}, id="blurred"),
        pytest.param(moved(INK, 12, 18), {"structure"}, id="shifted"),
        pytest.param(INK[:, :, :] // 2 + np.array([90, 40, 0], np.uint8), {"color", "style"}, id="tinted"),
        pytest.param(INK[:30], {"structure", "size"}, id="cut off"),
    ],
)
def test_a_spoiled_drawing_is_warned_of_what_is_wrong_with_it(spoiled: Rgb, warns: set[str]) -> None:
    report = checked(np.ascontiguousarray(spoiled))
    assert warns <= {check.name for check in report.checks if check.outcome == "warning"}
    assert report.failures == 0


def test_nothing_can_be_missing_from_a_picture_of_an_empty_scene() -> None:
    report = checked(png(96, 144), facts(png(96, 144)))
    assert report.warnings == 0
    outcomes = {name: result(report, name).outcome for name in ("blank", "sharpness", "structure")}
    assert set(outcomes.values()) == {"not_applicable"}


def test_a_hard_verdict_fails_and_one_that_is_off_is_not_made() -> None:
    settings = QualitySettings(
        blank=CheckSettings(threshold=0.25, verdict=Verdict.HARD),
        structure=CheckSettings(threshold=0.5, verdict=Verdict.OFF),
    )
    report = checked(np.full_like(INK, 9), settings=settings)
    assert report.failures == 1
    assert result(report, "blank").outcome == "failed"
    assert report.find("structure") is None


def test_a_line_may_lie_a_hair_off_but_not_a_hands_breadth() -> None:
    scene = gray_of(pixels(SCENE))
    near = structure_kept(scene, gray_of(moved(INK, 1, 1)))
    far = structure_kept(scene, gray_of(moved(INK, 10, 14)))
    assert near is not None
    assert far is not None
    assert near > 0.8
    assert far < 0.3


def test_hatching_everywhere_keeps_no_structure() -> None:
    stripes = np.tile(np.array([0, 0, 255, 255], np.uint8), (144, 24))
    kept = structure_kept(gray_of(pixels(SCENE)), stripes)
    assert kept is not None
    assert kept < 0.3


def test_night_and_rain_may_hide_a_part_of_the_scene() -> None:
    by_day = result(checked(INK), "structure")
    in_rain = result(checked(INK, stage="weather", weather="rain"), "structure")
    at_night = result(checked(INK, stage="time", time_of_day="night"), "structure")
    assert [check.threshold for check in (by_day, in_rain, at_night)] == [0.6, 0.24, 0.24]
    ignored = result(checked(INK, stage="style", time_of_day="night"), "structure")
    assert ignored.threshold == 0.6


def test_darkness_is_no_blur() -> None:
    scene = gray_of(pixels(SCENE))
    assert detail_kept(scene, (gray_of(INK) // 6)) == pytest.approx(1.0, abs=0.1)


def test_grain_is_no_detail() -> None:
    scene = gray_of(pixels(SCENE))
    blurred = cv2.GaussianBlur(gray_of(INK), (0, 0), 3).astype(np.float64)
    grainy = np.clip(blurred + np.random.default_rng(0).normal(0, 2, blurred.shape), 0, 255).astype(np.uint8)
    kept = detail_kept(scene, grainy)
    assert kept is not None
    assert kept < SETTINGS.sharpness.threshold


def test_blur_rises_with_the_radius() -> None:
    values = [blur_effect(cv2.GaussianBlur(gray_of(INK), (0, 0), radius)) for radius in (0.5, 1, 2, 4)]
    assert values == sorted(values)
    assert all(0 <= value <= 1 for value in values)


def test_a_larger_candidate_needs_no_more_detail_than_its_scene_has() -> None:
    large = cv2.resize(INK, (288, 432), interpolation=cv2.INTER_CUBIC)
    assert result(checked(large), "sharpness").outcome == "passed"


def test_style_is_the_distance_to_the_nearest_reference() -> None:
    scene = pixels(SCENE)
    looks = [look_of(INK), look_of(scene)]
    assert style_kept(looks[0], looks, with_tone=True) == 1.0
    assert style_kept(looks[0], looks[1:], with_tone=True) < 0.6
    darker = look_of(INK // 3)
    assert style_kept(darker, looks[:1], with_tone=False) > style_kept(darker, looks[:1], with_tone=True)


def test_style_counts_light_only_where_it_was_not_changed_on_purpose() -> None:
    given = facts(styles=(("ink", encoded(INK)),))
    dark = INK // 3
    as_style, as_night = (
        result(checked(dark, given, stage=stage, time_of_day="night"), "style").score
        for stage in ("style", "time")
    )
    assert as_style is not None
    assert as_night is not None
    assert as_night > as_style + 0.1


def test_without_references_a_grey_picture_has_no_style_to_keep() -> None:
    assert result(checked(INK), "style").outcome == "not_applicable"
    assert result(checked(SCENE), "style").score == 1.0
    foreign = pixels(SCENE)[..., ::-1]
    assert result(checked(np.ascontiguousarray(foreign)), "style").outcome == "warning"


def test_size_is_held_against_what_was_asked_for_or_else_the_scene() -> None:
    assert result(checked(INK, size="96x144"), "size").score == 1.0
    small = result(checked(INK, size="192x288"), "size")
    assert (small.score, small.outcome) == (0.25, "warning")
    assert small.reason == "96x144 for 192x288"
    assert result(checked(INK, size="auto"), "size").reason == "96x144 for a scene of 96x144"
    assert size_kept((1024, 1536), (1024, 1536)) == 1.0
    assert aspect_kept((768, 1152), (1024, 1536)) == pytest.approx(1.0)
    assert [wanted_size(text) for text in (None, "auto", "0x4", "2X3")] == [None, None, None, (2, 3)]


def test_drift_is_measured_against_the_baseline_with_the_light_left_out() -> None:
    given = facts(baseline=("base", encoded(INK)))
    kept = result(checked(INK // 2, given, stage="time", time_of_day="night"), "drift")
    assert kept.outcome == "passed"
    other = pixels(scene_png(96, 144, seed=8))
    gone = result(checked(inked(other)[::-1].copy(), given), "drift")
    assert gone.outcome == "warning"
    assert gone.reason.startswith("drift of ")
    assert result(checked(INK), "drift").outcome == "not_applicable"


def test_a_copy_is_told_from_a_second_drawing() -> None:
    copy = np.clip(INK.astype(np.int16) + 1, 0, 255).astype(np.uint8)
    second = inked(cv2.flip(pixels(SCENE), 1))
    found = nearest([thumbnail(picture) for picture in (INK, second, copy)])
    assert found[0] is None
    assert found[1] is not None
    assert found[1][0] > 0.25
    assert found[2] is not None
    assert found[2][0] < 0.25
    assert found[2][1] == 0


def test_the_worse_of_two_copies_is_warned() -> None:
    reports = [checked(INK), checked(INK)]
    first, second = with_duplicates(reports, [thumbnail(INK)] * 2, [4, 2], SETTINGS)
    assert result(first, "duplicate").outcome == "not_applicable"
    assert result(second, "duplicate").outcome == "warning"
    assert result(second, "duplicate").reason == "0% apart from candidate 4"
    assert second.warnings == reports[1].warnings + 1


def test_transparent_colour_counts_unless_it_is_ignored() -> None:
    rgba = np.zeros((8, 8, 4), np.uint8)
    rgba[..., 0] = 255
    rgba[:, :4] = (90, 90, 90, 255)
    data = encoded(rgba)
    given = facts(png(8, 8))
    exact = check_candidate(
        CheckRequest(name="c", data=data, guard=GuardSettings(), settings=SETTINGS), given
    ).guard
    seen = check_candidate(
        CheckRequest(
            name="c", data=data, guard=GuardSettings(), settings=QualitySettings(ignore_transparent=True)
        ),
        given,
    ).guard
    assert (exact.chroma_delta, seen.chroma_delta) == (85.0, 0.0)


def test_the_colour_check_repeats_the_guards_word() -> None:
    color = result(checked(png(96, 144, (100, 90, 80))), "color")
    assert (color.outcome, color.threshold) == ("warning", 2.0)
    assert color.score == round(1 - 11.3333 / 168, 4)
    strict = GuardSettings(enforce_grayscale=True)
    report = checked(png(96, 144, (100, 90, 80)), guard=strict)
    assert result(report, "color").outcome == "failed"
    assert report.failures == 0, "the guard's own counters have it already"


def test_the_score_is_the_weighted_mean_of_what_was_measured() -> None:
    one = graded("a", 1.0, CheckSettings(threshold=0.5, weight=3.0), "")
    two = graded("b", 0.2, CheckSettings(threshold=0.5, weight=1.0), "")
    none = graded("c", 0.0, CheckSettings(threshold=0.5, weight=0.0), "")
    assert summed([one, two]).score == 0.8
    assert summed([one, two, none]).warnings == 2
    assert summed([none]).score is None


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"<html>busy</html>", id="a web page"),
        pytest.param(scene_png()[:200], id="truncated"),
    ],
)
def test_what_is_no_picture_is_rejected_without_an_error(data: bytes) -> None:
    found = check_candidate(
        CheckRequest(name="c", data=data, guard=GuardSettings(), settings=SETTINGS), facts()
    )
    assert found.guard.hard_fail_reasons == ("image_read_failed",)
    assert (found.guard.chroma_delta, found.guard.grayscale_like) == (None, None)
    assert found.guard.error is not None
    assert "'c'" in found.guard.error
    assert found.report == QualityReport()


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (2, 3)], ids=str)
def test_the_smallest_pictures_have_a_report(size: tuple[int, int]) -> None:
    tiny = png(*size)
    for candidate, scene in ((tiny, SCENE), (SCENE, tiny), (tiny, tiny), (noise_png(*size), tiny)):
        given = facts(scene, styles=(("s", tiny),), baseline=("b", tiny))
        report = checked(candidate, given)
        assert all(check.score is None or 0 <= check.score <= 1 for check in report.checks)


def test_inputs_that_do_not_decode_are_left_out_and_said() -> None:
    given = facts(b"gone", styles=(("s", b"gone"),))
    report = checked(INK, given)
    assert result(report, "structure").reason == "the scene could not be read"
    assert report.warnings == 0


def test_facts_travel_sealed_between_picture_processes() -> None:
    styles, base = (("ink", encoded(INK)),), ("base", encoded(INK))
    request = FactsRequest(settings=SETTINGS, scene=("scene", SCENE), styles=styles, baseline=base)
    sealed = gather_in_process(request)
    check = CheckRequest(name="c.png", data=encoded(INK), guard=GuardSettings(), settings=SETTINGS)
    assert check_in_process(check, sealed) == check_candidate(check, gather_facts(request))
    assert check_in_process(check, request) == check_in_process(check, sealed)


def test_the_same_content_is_measured_once() -> None:
    scene = scene_png(96, 144, seed=11)
    styles = (("one", scene_png(64, 48, seed=12)), ("other", scene_png(64, 48, seed=12)))
    first, again = facts(scene, styles=styles), facts(scene, styles=styles)
    assert again.scene is first.scene
    assert first.styles[0] is first.styles[1] is again.styles[0]


def test_a_scene_is_measured_once_for_all_jobs_and_under_every_name() -> None:
    data = scene_png(96, 144, seed=23)
    first = gather_facts(FactsRequest(settings=SETTINGS, scene=("a.png", data), styles=(("b.png", data),)))
    again = gather_facts(FactsRequest(settings=SETTINGS, scene=("c.png", data), styles=(("d.png", data),)))
    assert first.scene is not None
    assert again.scene is first.scene
    assert again.styles[0] is first.styles[0]


def test_the_look_of_the_scene_is_measured_where_a_check_asks_for_it() -> None:
    gray, tinted = facts(scene_png(96, 144, seed=21)), facts(scene_png(96, 144, seed=22))
    checked(INK, gray)
    checked(pixels(SCENE), tinted)
    assert "look" not in vars(gray.scene)
    assert "look" in vars(tinted.scene)


def test_quantiles_are_those_of_numpy() -> None:
    channel = np.random.default_rng(0).normal(size=(37, 53)).astype(np.float32)
    at = np.linspace(0.02, 0.98, 33)
    assert quantiles(channel) == pytest.approx(np.quantile(channel, at), abs=1e-6)


def test_checks_that_are_off_measure_nothing() -> None:
    off = CheckSettings(threshold=0.5, verdict=Verdict.OFF)
    settings = msgspec.structs.replace(SETTINGS, style=off, drift=off)
    request = FactsRequest(
        settings=settings, scene=("s", SCENE), styles=(("one", SCENE),), baseline=("b", SCENE)
    )
    found = gather_facts(request)
    assert (found.styles, found.baseline) == ((), None)
