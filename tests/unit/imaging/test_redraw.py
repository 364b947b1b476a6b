import io
from functools import cache

import cv2
import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from kroma.cli.demo import REFERENCES
from kroma.imaging.chroma import chroma_delta
from kroma.imaging.codec import decode, verify
from kroma.imaging.color_check import GuardSettings
from kroma.imaging.errors import UnreadablePictureError
from kroma.imaging.restyle import night, weather
from kroma.imaging.restyle.engine import redraw
from kroma.imaging.restyle.lights import NIGHT_LIGHTS
from kroma.imaging.restyle.profile import measure
from kroma.imaging.restyle.recipe import RECIPES, recipe_of, suited
from kroma.imaging.restyle.spec import InvalidSizeError, RedrawnPicture, RedrawSpec
from style_references import REFERENCE_KINDS, style_reference


def saved(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", **options)
    return buffer.getvalue()


def chroma(data: bytes) -> float:
    return chroma_delta(decode(data, name="out").pixels[..., :3])


@cache
def scene(width: int = 192, height: int = 144) -> bytes:
    """A colorful still life: bright sky, dark ground, a house and a sun."""
    image = Image.new("RGB", (width, height), (150, 190, 235))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, height * 0.65, width, height), fill=(90, 110, 60))
    draw.rectangle((width * 0.3, height * 0.35, width * 0.7, height * 0.8), fill=(190, 90, 60))
    draw.polygon(
        [(width * 0.25, height * 0.36), (width * 0.5, height * 0.1), (width * 0.75, height * 0.36)], "#402020"
    )
    draw.ellipse((width * 0.8, height * 0.08, width * 0.9, height * 0.2), fill=(255, 250, 200))
    return saved(image.filter(ImageFilter.GaussianBlur(0.7)))


@cache
def gray_styles() -> tuple[tuple[str, bytes], ...]:
    return tuple((kind, style_reference(kind, (192, 240))) for kind in REFERENCE_KINDS)


def sepia_style() -> tuple[str, bytes]:
    gray = Image.open(io.BytesIO(gray_styles()[0][1])).convert("L")
    ramp = [Image.eval(gray, lambda v, k=k: int(20 + v * k)) for k in (0.92, 0.78, 0.55)]
    return ("sepia", saved(Image.merge("RGB", ramp)))


def redrawn(**changes: object) -> RedrawnPicture:
    spec = {
        "scene_name": "house.png",
        "scene": scene(),
        "styles": gray_styles(),
        "stage": "style",
        "time_of_day": "day",
        "weather": "clear",
        "candidate_index": 1,
        "seed": 5,
    } | changes
    return redraw(RedrawSpec(**spec))


@cache
def baseline() -> RedrawnPicture:
    return redrawn(scene=scene(360, 270))


def gray_of(picture: RedrawnPicture) -> NDArray[np.float32]:
    return decode(picture.png, name="out").pixels[..., :3].mean(axis=2).astype(np.float32)


LIGHTS = [
    pytest.param("style", "day", "clear", id="style"),
    pytest.param("time", "night", "clear", id="night"),
    pytest.param("weather", "day", "rain", id="rain"),
    pytest.param("weather", "night", "rain", id="rainy night"),
]


@pytest.mark.parametrize(("stage", "time_of_day", "weather"), LIGHTS)
def test_grey_references_give_pictures_that_pass_the_guard(
    stage: str, time_of_day: str, weather: str
) -> None:
    for index in range(1, 7):
        picture = redrawn(stage=stage, time_of_day=time_of_day, weather=weather, candidate_index=index)
        assert chroma(picture.png) <= GuardSettings().max_chroma_delta


@pytest.mark.parametrize(("stage", "time_of_day", "weather"), LIGHTS)
def test_the_same_order_gives_the_same_bytes(stage: str, time_of_day: str, weather: str) -> None:
    first = redrawn(stage=stage, time_of_day=time_of_day, weather=weather)
    assert first == redrawn(stage=stage, time_of_day=time_of_day, weather=weather)


def test_every_candidate_is_another_drawing_with_a_name() -> None:
    pictures = [redrawn(candidate_index=index) for index in range(1, 7)]
    assert len({picture.parameters["variation"] for picture in pictures}) == 6
    tones = [gray_of(picture) for picture in pictures]
    differences = [np.abs(a - b).mean() for n, a in enumerate(tones) for b in tones[n + 1 :]]
    assert min(differences) > 8.0


def test_another_seed_is_another_drawing() -> None:
    assert redrawn(seed=5).png != redrawn(seed=11).png


def test_the_largest_seed_works() -> None:
    assert redrawn(seed=2**63 - 1, candidate_index=200).width == 192


def test_coloured_references_colour_the_drawing() -> None:
    pixels = decode(redrawn(styles=(sepia_style(),)).png, name="out").pixels.astype(np.int64)
    means = pixels.reshape(-1, 3).mean(axis=0)
    assert means[0] > means[1] + 5
    assert means[1] > means[2] + 5


def test_character_references_lend_colour_to_a_coloured_style_alone_and_it_is_said() -> None:
    ramp = Image.linear_gradient("L")
    teal = ("face", saved(Image.merge("RGB", [Image.eval(ramp, lambda v: v // 3), ramp, ramp])))
    plain, lent = redrawn(styles=(sepia_style(),)), redrawn(styles=(sepia_style(),), references=(teal,))
    assert lent.parameters["references"] == {"count": 1, "color_share": 0.15}
    assert lent.png != plain.png

    def blue(picture: RedrawnPicture) -> float:
        means = decode(picture.png, name="out").pixels.reshape(-1, 3).mean(axis=0)
        return float(means[2] - means[0])

    assert blue(lent) > blue(plain) + 1
    gray = redrawn(references=(teal,))
    assert gray.parameters["references"] == {"count": 1, "color_share": 0.0}
    assert chroma(gray.png) <= GuardSettings().max_chroma_delta


def test_the_picture_is_redrawn_not_merely_grey() -> None:
    source = np.asarray(Image.open(io.BytesIO(scene())).convert("L"), dtype=np.float32)
    drawn = gray_of(redrawn(candidate_index=2))
    assert np.abs(drawn - source).mean() > 15
    assert drawn.min() < 60
    assert drawn.max() > 215


@pytest.mark.parametrize("index", [1, 2, 3])
def test_the_edges_of_the_scene_stay(index: int) -> None:
    source = np.asarray(Image.open(io.BytesIO(scene())).convert("L"), dtype=np.float32)
    assert recall(source, gray_of(redrawn(candidate_index=index))) > 0.85
    rain = redrawn(stage="weather", weather="rain", candidate_index=index)
    assert recall(source, gray_of(rain)) > 0.8


@pytest.mark.parametrize("index", [1, 2, 3, 4, 5, 6])
def test_night_is_darker_than_day_and_keeps_some_light(index: int) -> None:
    day = gray_of(redrawn(stage="time", time_of_day="day", candidate_index=index))
    night = gray_of(redrawn(stage="time", time_of_day="night", candidate_index=index))
    assert night.mean() < 0.7 * day.mean()
    assert np.percentile(night, 99) > 120
    assert np.percentile(night, 5) < 60


def test_rain_changes_the_drawing_and_says_how_it_falls() -> None:
    clear = redrawn(stage="weather")
    rain = redrawn(stage="weather", weather="rain")
    assert "rain" not in clear.parameters
    assert -30.0 <= rain.parameters["rain"]["slant"] <= 35.0
    assert rain.parameters["rain"]["name"] in rain.parameters["variation"]
    assert np.abs(gray_of(clear) - gray_of(rain)).mean() > 8


def test_rain_wets_the_ground_and_leaves_the_forms_above_it() -> None:
    """A calm floor below a checked wall: the floor mirrors, in level dashes, the wall stays a wall."""
    image = Image.new("L", (192, 288), 225)
    draw = ImageDraw.Draw(image)
    for x in range(0, 192, 32):
        draw.rectangle((x, 0, x + 15, 190), fill=60)
    day = gray_of(redrawn(scene=saved(image.convert("RGB")), stage="weather"))
    rain = gray_of(redrawn(scene=saved(image.convert("RGB")), stage="weather", weather="rain"))
    floor, wall = slice(240, 288), slice(60, 180)
    assert rain[floor].mean() < day[floor].mean() - 20
    assert rain[floor].std() > 1.5 * day[floor].std()
    assert np.corrcoef(day[wall].mean(axis=0), rain[wall].mean(axis=0))[0, 1] > 0.9


def test_rain_falls_in_depth() -> None:
    far, middle, near = weather.DEPTHS
    assert far.length < middle.length < near.length
    assert far.per_megapixel > middle.per_megapixel > near.per_megapixel


def test_light_falls_off_from_where_it_stands_as_a_point_light_does() -> None:
    lit = msgspec.structs.replace(NIGHT_LIGHTS[0], x=0.5, y=0.5, reach=0.5)
    reached, air = night.falloff((400, 300), lit, (0.5, 0.5))
    row, middle = reached[200], reached[200, 150]
    assert middle == pytest.approx(1.0, abs=0.01)
    assert (np.diff(row[150:]) <= 1e-6).all()
    # At a distance as large as its height a point of light gives 2 ** -1.5 of what it gives below.
    assert reached[200, 299] == pytest.approx((1 + (150 / 500 / 0.5) ** 2) ** -1.5, abs=0.02)
    assert air[200, 150] > 3 * air[0, 0]


def test_a_lamp_glows_at_night_and_a_bright_wall_does_not() -> None:
    dusk = Image.new("RGB", (192, 288), (70, 70, 80))
    draw = ImageDraw.Draw(dusk)
    draw.ellipse((60, 180, 68, 188), fill="white")
    draw.rectangle((100, 0, 192, 120), fill=(235, 235, 235))
    picture = gray_of(redrawn(scene=saved(dusk), stage="time", time_of_day="night", candidate_index=3))
    around = picture[170:198, 45:83].mean()
    assert around > picture[240:280, 10:80].mean() + 25
    assert picture[20:100, 120:180].mean() < 140


def test_a_baseline_keeps_its_strokes_in_later_stages() -> None:
    strokes = gray_of(baseline())
    for light in ({"time_of_day": "night"}, {"stage": "weather", "weather": "rain"}, {"stage": "character"}):
        relit = redrawn(**{"scene": baseline().png, "stage": "time"} | light)
        assert relit.parameters["keeps_strokes"]
        assert recall(strokes, gray_of(relit)) > 0.7
    assert not redrawn(scene=scene(360, 270), stage="time").parameters["keeps_strokes"]
    assert not redrawn(scene=baseline().png).parameters["keeps_strokes"], "the style stage draws anew"


@pytest.mark.parametrize("stage", ["time", "character"])
def test_candidates_of_a_drawing_differ_by_their_light_by_day_too(stage: str) -> None:
    pictures = [redrawn(scene=baseline().png, stage=stage, candidate_index=index) for index in (1, 2, 3)]
    assert all(picture.parameters["keeps_strokes"] for picture in pictures)
    assert len({picture.parameters["day_light"]["name"] for picture in pictures}) == 3
    one, two, three = (gray_of(picture) for picture in pictures)
    assert min(np.abs(one - two).mean(), np.abs(two - three).mean(), np.abs(one - three).mean()) > 5


def recall(source: NDArray[np.float32], drawn: NDArray[np.float32]) -> float:
    """The share of the strong edges of one picture that another has within 3 pixels."""

    def edges(gray: NDArray[np.float32]) -> NDArray[np.bool_]:
        soft = cv2.GaussianBlur(gray, (0, 0), 1.5)
        steep = np.hypot(cv2.Sobel(soft, cv2.CV_32F, 1, 0), cv2.Sobel(soft, cv2.CV_32F, 0, 1))
        return steep > np.percentile(steep, 90)

    found = cv2.dilate(edges(drawn).astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    wanted = edges(source)
    return float(found[wanted].mean())


def test_hatching_of_references_sets_distance_and_direction_of_strokes() -> None:
    noir, washed = (measure([decode(data, name=name).pixels[..., :3]]) for name, data in gray_styles())
    large = measure([decode(style_reference("noir ink"), name="noir").pixels[..., :3]])
    assert washed.hatching == 0.0
    assert large.hatching > 0.5
    assert large.stroke_period == pytest.approx(12.0, abs=1.5)
    assert large.stroke_angle == pytest.approx(RECIPES[0].angle, abs=8.0)
    assert noir.two_tone > washed.two_tone
    fine = msgspec.structs.replace(large, hatching=1.0, stroke_period=6.0, stroke_angle=90.0)
    recipe = recipe_of(5, 1)
    assert suited(recipe, fine).period < 0.7 * recipe.period
    assert suited(recipe, washed) == recipe


def test_stage_style_ignores_time_and_weather() -> None:
    assert redrawn(time_of_day="night", weather="rain").png == redrawn().png


def test_alpha_is_kept_to_the_bit() -> None:
    image = Image.open(io.BytesIO(scene())).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    out = decode(redrawn(scene=saved(image)).png, name="out")
    assert out.alpha is not None
    assert np.array_equal(out.alpha, np.asarray(image.getchannel("A")))
    opaque = decode(redrawn(scene=saved(image), opaque=True).png, name="out")
    assert opaque.alpha is None
    assert opaque.pixels[0].min() > 200, "clear becomes paper"


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (1, 40), (40, 1), (7, 5)])
@pytest.mark.parametrize(("stage", "time_of_day", "weather"), LIGHTS)
def test_tiny_pictures_keep_their_size(
    size: tuple[int, int], stage: str, time_of_day: str, weather: str
) -> None:
    data = saved(Image.new("RGB", size, (120, 90, 60)))
    out = redrawn(scene=data, stage=stage, time_of_day=time_of_day, weather=weather)
    assert (out.width, out.height) == size


@pytest.mark.parametrize("color", ["black", "white", "gray"])
@pytest.mark.parametrize(("stage", "time_of_day", "weather"), LIGHTS)
def test_a_flat_scene_is_no_trouble(color: str, stage: str, time_of_day: str, weather: str) -> None:
    data = saved(Image.new("RGB", (96, 96), color))
    assert redrawn(scene=data, stage=stage, time_of_day=time_of_day, weather=weather).height == 96


def test_tiny_and_flat_references_and_none_at_all_are_enough() -> None:
    for styles in (
        (),
        (("dot", saved(Image.new("RGB", (1, 1), "white"))),),
        (("b", saved(Image.new("L", (9, 9)))),),
    ):
        assert redrawn(styles=styles).width == 192


@pytest.mark.parametrize("size", ["64x96", "300x100", "192x144"])
def test_a_wanted_size_is_filled(size: str) -> None:
    out = redrawn(size=size)
    assert f"{out.width}x{out.height}" == size


@pytest.mark.parametrize("size", ["big", "10", "0x10", "-4x4", "10x", "30000x30000", "1x1x1"])
def test_a_size_that_makes_no_picture_is_refused(size: str) -> None:
    with pytest.raises(InvalidSizeError, match="768x1152"):
        redrawn(size=size)


def test_a_broken_reference_is_named() -> None:
    with pytest.raises(UnreadablePictureError, match=r"style\.png"):
        redrawn(styles=(("style.png", b"text"),))


def test_neighbouring_candidates_use_different_recipes_for_every_seed() -> None:
    for seed in range(12):
        names = [recipe_of(seed, index).name for index in range(1, len(RECIPES) + 1)]
        assert len(set(names)) == len(RECIPES)


def test_the_measured_hand_tells_ink_from_wash() -> None:
    ink, wash = (measure([decode(style_reference(k, (576, 720)), name=k).pixels]) for k in REFERENCE_KINDS)
    assert ink.two_tone > wash.two_tone + 0.2
    assert ink.is_gray
    assert wash.is_gray


@pytest.mark.parametrize("name", ["noir-ink.png", "ink-wash.png"])
def test_a_shipped_reference_decodes_and_is_gray(name: str) -> None:
    data = (REFERENCES / name).read_bytes()
    header = verify(data, name=name)
    assert (header.format, header.width, header.height) == ("PNG", 640, 800)
    assert chroma(data) == 0.0
