import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from kroma.imaging.chroma import chroma_delta
from kroma.imaging.color_check import GuardReport, GuardSettings, judge


def flat(*color: int, size: tuple[int, int] = (7, 5)) -> NDArray[np.uint8]:
    return np.full((size[1], size[0], len(color)), color, dtype=np.uint8)


def check(*color: int, name: str = "a", **settings: bool) -> GuardReport:
    delta = chroma_delta(flat(*color)[..., :3])
    return judge(delta, GuardSettings(**settings), name=name)


def plain_formula(rgb: NDArray[np.uint8]) -> float:
    red, green, blue = (rgb[..., channel].astype(np.int64) for channel in range(3))
    means = [np.abs(red - green).mean(), np.abs(red - blue).mean(), np.abs(green - blue).mean()]
    return float((means[0] + means[1] + means[2]) / 3)


@pytest.mark.parametrize(
    ("color", "expected"),
    [
        pytest.param((128, 128, 128), 0.0, id="gray"),
        pytest.param((130, 128, 127), 2.0, id="at the threshold"),
        pytest.param((100, 90, 80), 13.3333, id="brown"),
        pytest.param((255, 0, 0, 0), 170.0, id="fully transparent red"),
    ],
)
def test_the_check_values_of_the_specification_hold(color: tuple[int, ...], expected: float) -> None:
    assert check(*color).chroma_delta == expected


def test_an_empty_picture_has_no_chroma() -> None:
    assert chroma_delta(np.zeros((0, 4, 3), dtype=np.uint8)) == 0.0


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_the_fast_formula_equals_the_plain_one_exactly(width: int, height: int, seed: int) -> None:
    rgb = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    assert chroma_delta(rgb) == plain_formula(rgb)


def test_the_fast_formula_is_exact_over_several_blocks_and_on_views() -> None:
    rgba = np.random.default_rng(3).integers(0, 256, (700, 801, 4), dtype=np.uint8)
    assert chroma_delta(rgba[..., :3]) == plain_formula(rgba[..., :3])
    assert chroma_delta(flat(255, 0, 0, size=(2000, 1500))) == 170.0


def test_the_threshold_is_inclusive() -> None:
    report = check(130, 128, 127, enforce_grayscale=True)
    assert report.grayscale_like is True
    assert report.hard_fail_reasons == ()
    assert report.soft_warnings == ()


def test_colour_warns_by_default() -> None:
    report = check(100, 90, 80, name="a.png")
    assert report.file == "a.png"
    assert report.grayscale_like is False
    assert report.soft_warnings == ("chroma_exceeds_threshold",)
    assert (report.hard_failures, report.soft_failures) == (0, 1)
    assert report.avg_chroma_exceed == 11.3333


def test_two_hard_reasons_count_as_one_failed_file() -> None:
    report = check(100, 90, 80, enforce_grayscale=True, fail_on_chroma_exceed=True)
    assert report.hard_fail_reasons == ("not_grayscale_like", "chroma_exceeds_threshold")
    assert (report.hard_failures, report.soft_failures) == (1, 0)


def test_a_file_may_fail_and_warn_at_once() -> None:
    report = check(100, 90, 80, enforce_grayscale=True)
    assert (report.hard_failures, report.soft_failures) == (1, 1)


def test_the_unrounded_delta_decides() -> None:
    report = judge(2.00001, GuardSettings(enforce_grayscale=True), name="a")
    assert report.chroma_delta == 2.0
    assert report.hard_fail_reasons == ("not_grayscale_like",)


def test_a_negative_threshold_counts_as_zero() -> None:
    assert judge(0.0, GuardSettings(max_chroma_delta=-1.0), name="a").grayscale_like is True
