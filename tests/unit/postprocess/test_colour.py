import numpy as np
import pytest

from kroma.imaging.high_bit_depth import Picture16
from kroma.postprocess.color import graded
from kroma.postprocess.lut import read_cube
from kroma.postprocess.specs import BUILTIN_PROFILES, ColorProfile

Rgb = tuple[int, int, int]


def flat(*color: int, width: int = 24, height: int = 40, dtype: type = np.uint8) -> Picture16:
    pixels = np.empty((height, width, len(color)), dtype)
    pixels[:] = color
    return Picture16(pixels)


def noise(*, channels: int = 3, dtype: type = np.uint8, height: int = 300, width: int = 300) -> Picture16:
    top = 256 if dtype is np.uint8 else 65536
    return Picture16(np.random.default_rng(3).integers(0, top, (height, width, channels), dtype))


def middle(picture: Picture16) -> list[int]:
    height, width = picture.pixels.shape[:2]
    return [int(value) for value in picture.pixels[height // 2, width // 2]]


@pytest.mark.parametrize(
    ("color", "profile", "expected"),
    [
        pytest.param((100, 90, 80), "neutral", (99, 89, 79), id="neutral"),
        pytest.param((100, 90, 80), "cinematic_warm", (102, 86, 71), id="warm"),
        pytest.param((100, 90, 80), "cold_rain", (92, 84, 79), id="cold"),
        pytest.param((128, 128, 128), "cinematic_warm", (133, 128, 123), id="gray warm"),
        pytest.param((128, 128, 128), "cold_rain", (121, 125, 131), id="gray cold"),
        pytest.param((16, 64, 240), "cinematic_warm", (0, 56, 245), id="strong blue warm"),
    ],
)
def test_the_check_values_of_the_original_hold_within_one_level(
    color: Rgb, profile: str, expected: Rgb
) -> None:
    done = middle(graded(flat(*color), BUILTIN_PROFILES[profile]))

    assert max(abs(ours - theirs) for ours, theirs in zip(done, expected, strict=True)) <= 1


@pytest.mark.parametrize("profile", BUILTIN_PROFILES)
def test_sixteen_bits_stay_and_agree_with_eight(profile: str) -> None:
    eight = noise()
    deep = Picture16(eight.pixels.astype(np.uint16) * 257)

    done = graded(deep, BUILTIN_PROFILES[profile])

    assert done.pixels.dtype == np.uint16
    off = done.pixels / 257 - graded(eight, BUILTIN_PROFILES[profile]).pixels
    assert np.abs(off).max() <= 0.51


def test_a_step_of_a_sixteenth_of_a_level_survives_a_grade_in_sixteen_bits() -> None:
    pixels = np.full((8, 8, 3), 128 * 257, np.uint16)
    pixels[:, 4:] += 16

    done = graded(Picture16(pixels), BUILTIN_PROFILES["cinematic_warm"]).pixels

    assert np.all(done[:, 6] > done[:, 1])


def test_nothing_changes_where_every_value_is_neutral() -> None:
    picture = noise(channels=4)

    assert np.array_equal(graded(picture, ColorProfile()).pixels, picture.pixels)


def test_strips_leave_no_seams() -> None:
    tall = noise(height=900, width=400)
    profile = BUILTIN_PROFILES["cold_rain"]

    whole = graded(tall, profile).pixels

    # Far from its own border a piece is graded as within the whole.
    piece = graded(Picture16(np.ascontiguousarray(tall.pixels[150:420])), profile).pixels
    assert np.array_equal(piece[10:-10], whole[160:410])


def test_alpha_and_profile_are_kept() -> None:
    picture = Picture16(noise(channels=4).pixels, b"profile")

    done = graded(picture, BUILTIN_PROFILES["cinematic_warm"])

    assert np.array_equal(done.pixels[..., 3], picture.pixels[..., 3])
    assert done.icc_profile == b"profile"


def test_what_a_transparent_pixel_hides_does_not_bleed_into_its_neighbours() -> None:
    plain = flat(100, 90, 80, 255)
    hiding = Picture16(plain.pixels.copy())
    hiding.pixels[:, 12:] = (255, 0, 255, 0)
    profile = ColorProfile(sharpness=3.0)

    shown = graded(hiding, profile).pixels[:, :12]

    assert np.array_equal(shown, graded(plain, profile).pixels[:, :12])


def test_sharpness_above_one_steepens_an_edge_and_below_one_softens_it() -> None:
    edge = flat(60, 60, 60)
    edge.pixels[:, 12:] = 180

    def step(sharpness: float) -> int:
        row = graded(edge, ColorProfile(sharpness=sharpness)).pixels[20, :, 0].astype(int)
        return int(row[12] - row[11])

    assert step(0.0) < step(0.5) < step(1.0) == 120 < step(2.0)


def test_autocontrast_stretches_each_channel_and_cuts_its_percent_at_both_ends() -> None:
    ramp = np.zeros((4, 100, 3), np.uint8)
    ramp[..., 0] = np.arange(100) + 50
    ramp[..., 1] = 70

    done = graded(Picture16(ramp), ColorProfile(autocontrast_cutoff=10)).pixels

    assert done[0, 0, 0] == 0
    assert done[0, 99, 0] == 255
    assert (done[0, :, 0] == 0).sum() == pytest.approx(11, abs=1)
    assert (done[0, :, 0] == 255).sum() == pytest.approx(11, abs=1)
    assert np.all(done[..., 1] == 70)  # one level cannot be stretched


def test_warmth_reddens_grey_cold_blues_it_and_its_luminance_stays() -> None:
    gray = flat(140, 140, 140)

    warm, cold = (middle(graded(gray, ColorProfile(temperature=t))) for t in (40.0, -40.0))

    assert warm[0] > 140 > warm[2]
    assert cold[0] < 140 < cold[2]
    for red, green, blue in (warm, cold):
        light = ((np.array([red, green, blue]) / 255 + 0.055) / 1.055) ** 2.4 @ [0.2126, 0.7152, 0.0722]
        assert light == pytest.approx(((140 / 255 + 0.055) / 1.055) ** 2.4, rel=0.02)


def cube(size: int, change: str = "r g b") -> bytes:
    """A 3D table of a formula over r, g and b from 0 to 1."""
    rows = [
        " ".join(f"{eval(part, {'r': r, 'g': g, 'b': b}):.6f}" for part in change.split())  # noqa: S307
        for b in np.linspace(0, 1, size)
        for g in np.linspace(0, 1, size)
        for r in np.linspace(0, 1, size)
    ]
    return f"LUT_3D_SIZE {size}\n{chr(10).join(rows)}\n".encode()


def test_an_identity_table_changes_nothing() -> None:
    picture = noise(channels=4)

    done = graded(picture, ColorProfile(lut="x"), read_cube(cube(5), name="x"))

    assert np.array_equal(done.pixels, picture.pixels)


def test_a_three_dimensional_table_lists_red_fastest() -> None:
    swapped = read_cube(cube(3, "b g r"), name="x")

    assert middle(graded(flat(200, 90, 10), ColorProfile(lut="x"), swapped)) == [10, 90, 200]


def test_greys_stay_grey_through_a_table_that_bends_them_alike() -> None:
    gamma = read_cube(cube(9, "r**2 g**2 b**2"), name="x")
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)

    done = graded(Picture16(ramp), ColorProfile(lut="x"), gamma).pixels.astype(int)

    assert np.all(done[..., 0] == done[..., 1])
    assert np.all(done[..., 1] == done[..., 2])
    assert np.all(np.diff(done[0, :, 0]) >= 0)


def test_a_one_dimensional_table_bends_each_channel() -> None:
    table = b'TITLE "invert red"\nLUT_1D_SIZE 2\nDOMAIN_MIN 0 0 0\nDOMAIN_MAX 1 1 1\n1 0 0\n0 1 1\n'

    done = graded(flat(55, 90, 10), ColorProfile(lut="x"), read_cube(table, name="x"))

    assert middle(done) == [200, 90, 10]
