"""Planning a run: what makes a plan, and every bad input that does not."""

import os
import struct
import zlib
from pathlib import Path

import msgspec
import pytest
from PIL import Image

from kroma.cpu import CpuPool
from kroma.imaging.accept import accept
from kroma.imaging.color_check import GuardSettings
from kroma.pipeline.planning.errors import PlanningPreflightError
from kroma.pipeline.planning.manifest import DEFAULT_PROMPTS
from kroma.pipeline.planning.model_choice import ModelChoice
from kroma.pipeline.planning.plan import RunPlan
from kroma.pipeline.planning.planner import check_inputs, plan_run
from kroma.pipeline.planning.run_spec import RunSpec
from kroma.runlog.schema import PostprocessLog
from kroma.runs.models import RunMode, Stage, TimeOfDay, Weather
from support.builders import corpus
from support.builders.config_project import ConfigProject
from support.builders.factories import encoded, jpeg, png
from support.doubles.memory_store import MemoryStores

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(autouse=True)
def _pictures(project: ConfigProject) -> None:
    project.put("scenes/Harbor Gate.png", png(40, 30))
    project.put("scenes/pier.jpg", jpeg())
    project.put("references/ink.png", png(20, 10))


def metadata() -> bytes:
    """4 MB of a JPEG's XMP."""
    return (b"\xff\xe1\xff\xff" + bytes(0xFFFD)) * 64


async def planned(project: ConfigProject, spec: RunSpec, *, provider: str = "local") -> RunPlan:
    return await plan_run(
        project.stores(),
        project.settings(provider=provider),
        project_slug="comic",
        location=str(project.root),
        real_root="var/projects/comic",
        is_confined=False,
        spec=spec,
        cpu=CpuPool(1),
    )


async def refusal(project: ConfigProject, spec: RunSpec, *, provider: str = "local") -> str:
    """The one line that says why there is no plan."""
    with pytest.raises(PlanningPreflightError) as caught:
        await planned(project, spec, provider=provider)
    assert (caught.value.code, caught.value.kind) == ("planning_preflight_failed", "validation")
    assert caught.value.message.isprintable()
    return caught.value.message


def huge_header() -> bytes:
    """A small PNG that says it has 30000x30000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(b"\0" * 100))
        + chunk(b"IEND", b"")
    )


async def test_a_plan_freezes_what_was_asked_for(project: ConfigProject) -> None:
    plan = await planned(
        project,
        RunSpec(
            mode=RunMode.RUN,
            scene_refs=("scenes/pier.jpg", "./scenes/Harbor Gate.png"),
            style_refs=("references/ink.png",),
            stage=Stage.WEATHER,
            time_of_day=TimeOfDay.NIGHT,
            weather=Weather.RAIN,
            candidates=3,
            storage_sync_s3=True,
        ),
    )

    assert [job.job_key for job in plan.jobs] == ["weather_1_pier", "weather_2_harbor_gate"]
    assert [job.scene.ref for job in plan.jobs] == ["scenes/pier.jpg", "./scenes/Harbor Gate.png"]
    scene = plan.jobs[1].scene
    assert (scene.key, scene.mime_type) == ("scenes/Harbor Gate.png", "image/png")
    assert (scene.width, scene.height, scene.size_bytes) == (40, 30, len(png(40, 30)))
    assert [style.key for style in plan.styles] == ["references/ink.png"]
    assert DEFAULT_PROMPTS["weather_rain"] in plan.jobs[0].prompt
    assert (plan.mode, plan.stage, plan.time_of_day, plan.weather) == ("run", "weather", "night", "rain")
    assert (plan.candidates, plan.max_candidates, plan.provider) == (3, 6, "local")
    assert (plan.project_slug, plan.project_root) == ("comic", str(project.root))
    assert plan.guard == GuardSettings()
    assert plan.postprocess == PostprocessLog()
    assert plan.storage_sync_s3 is True


async def test_a_plan_survives_being_stored(project: ConfigProject) -> None:
    plan = await planned(project, RunSpec(input="scenes"))

    assert msgspec.json.decode(msgspec.json.encode(plan), type=RunPlan) == plan


async def test_every_run_draws_its_own_seed(project: ConfigProject) -> None:
    seeds = {(await planned(project, RunSpec(input="scenes"))).seed for _ in range(4)}

    assert len(seeds) == 4
    assert all(0 <= seed < 2**63 for seed in seeds)


async def test_the_snapshot_says_what_the_plan_was_made_from(project: ConfigProject) -> None:
    project.manifest(style_refs=["references/ink.png"], safe_batch_limit=5)

    snapshot = (await planned(project, RunSpec(input="scenes"))).settings_snapshot

    assert snapshot["generation"] == {"candidates": 1, "max_candidates": 6}
    assert snapshot["output_guard"] == {
        "enabled": True,
        "enforce_grayscale": False,
        "max_chroma_delta": 2.0,
        "fail_on_chroma_exceed": False,
    }
    assert snapshot["postprocess"]["pipeline_order"] == ["generate"]
    assert snapshot["manifest_path"] == "manifest.json"
    assert snapshot["style_refs"] == ["references/ink.png"]
    assert snapshot["safe_batch_limit"] == 5


async def test_a_folder_is_listed_by_name_depth_first_pictures_only(project: ConfigProject) -> None:
    project.put("in/b.PNG", png())
    project.put("in/a/z.webp", encoded(Image.new("RGB", (4, 4)), "WEBP"))
    project.put("in/a.tiff", encoded(Image.new("RGB", (4, 4)), "TIFF"))
    project.put("in/.hidden.bmp", encoded(Image.new("RGB", (4, 4)), "BMP"))
    project.put("in/notes.txt", "no picture")
    (project.root / "in" / "link.png").symlink_to(project.root / "in" / "b.PNG")

    plan = await planned(project, RunSpec(input="in"))

    assert [job.scene.ref for job in plan.jobs] == ["in/.hidden.bmp", "in/a/z.webp", "in/a.tiff", "in/b.PNG"]


@pytest.mark.parametrize("form", ["scenes/pier.jpg", "{root}/scenes/pier.jpg"])
async def test_an_input_may_be_one_file(project: ConfigProject, form: str) -> None:
    ref = form.format(root=project.root)

    plan = await planned(project, RunSpec(input=ref))

    assert [(job.scene.ref, job.scene.key) for job in plan.jobs] == [(ref, "scenes/pier.jpg")]


async def test_a_symlink_that_stays_in_the_project_is_a_scene(project: ConfigProject) -> None:
    (project.root / "alias.jpg").symlink_to(project.root / "scenes" / "pier.jpg")

    plan = await planned(project, RunSpec(scene_refs=("alias.jpg",)))

    assert plan.jobs[0].scene.mime_type == "image/jpeg"


async def test_repeated_pictures_are_kept_in_their_places(project: ConfigProject) -> None:
    plan = await planned(
        project,
        RunSpec(
            scene_refs=("scenes/pier.jpg", "./scenes/pier.jpg"),
            style_refs=("references/ink.png", "references/ink.png"),
        ),
    )

    assert [job.job_key for job in plan.jobs] == ["style_1_pier", "style_2_pier"]
    assert [job.scene.ref for job in plan.jobs] == ["scenes/pier.jpg", "./scenes/pier.jpg"]
    assert len(plan.styles) == 2


async def test_a_run_without_styles_is_planned(project: ConfigProject) -> None:
    assert (await planned(project, RunSpec(input="scenes"))).styles == ()


async def test_a_file_may_be_named_by_another_format(project: ConfigProject) -> None:
    project.put("scene.png", jpeg())

    plan = await planned(project, RunSpec(scene_refs=("scene.png",)))

    assert plan.jobs[0].scene.mime_type == "image/jpeg"


async def test_a_one_pixel_picture_is_not_too_small(project: ConfigProject) -> None:
    project.put("dot.png", png(1, 1))

    assert (await planned(project, RunSpec(scene_refs=("dot.png",)))).jobs[0].scene.width == 1


async def test_the_manifest_fills_what_the_order_leaves_open(project: ConfigProject) -> None:
    project.manifest(
        scene_refs=["scenes/pier.jpg"],
        style_refs=["references/ink.png"],
        generation={"candidates": 2, "max_candidates": 4},
        output_guard={"enforce_grayscale": True},
        prompts={"style_base": "In ink."},
        policy={"default_no_invention": False},
    )

    plan = await planned(project, RunSpec(mode=RunMode.RUN))

    assert [job.scene.ref for job in plan.jobs] == ["scenes/pier.jpg"]
    assert [style.ref for style in plan.styles] == ["references/ink.png"]
    assert (plan.candidates, plan.max_candidates) == (2, 4)
    assert plan.guard.enforce_grayscale is True
    assert plan.jobs[0].prompt == "In ink."


async def test_styles_of_the_order_replace_the_manifests(project: ConfigProject) -> None:
    project.manifest(style_refs=["references/ink.png"])

    plan = await planned(project, RunSpec(input="scenes", style_refs=("scenes/pier.jpg",)))

    assert [style.ref for style in plan.styles] == ["scenes/pier.jpg"]


async def test_postprocessing_of_the_settings_is_planned(project: ConfigProject) -> None:
    project.write("post.json", {"color": {"default_profile": "cold_rain"}})
    project.configure(postprocess_config_path="post.json", postprocess={"color": True})

    plan = await planned(project, RunSpec(input="scenes"))

    assert plan.postprocess == PostprocessLog(
        color=True, color_profile="cold_rain", pipeline_order=["generate", "color"]
    )


async def test_a_plan_needs_no_disk(project: ConfigProject) -> None:
    stores = MemoryStores()
    await stores.open(str(project.root)).put("a.png", png())

    plan = await plan_run(
        stores,
        project.settings(),
        project_slug="comic",
        location=str(project.root),
        real_root=None,
        is_confined=False,
        spec=RunSpec(scene_refs=("a.png",)),
        cpu=CpuPool(1),
    )

    assert plan.jobs[0].job_key == "style_1_a"


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(jpeg()[:2] + metadata() + jpeg()[2:], id="metadata in front"),
        pytest.param(jpeg() + bytes(4 * 1024**2), id="a film behind a JPEG"),
        pytest.param(png() + bytes(4 * 1024**2), id="much behind a PNG"),
    ],
)
async def test_a_picture_whose_ends_do_not_tell_is_read_whole(project: ConfigProject, content: bytes) -> None:
    project.put("large.jpg", content)
    assert accept(content, name="large.jpg").header.width == 64

    plan = await planned(project, RunSpec(scene_refs=("large.jpg", "scenes/pier.jpg", "large.jpg")))

    assert plan.jobs[0].scene.size_bytes == len(content)


async def test_a_picture_that_is_too_much_work_makes_no_plan_once_it_was_read_whole(
    project: ConfigProject,
) -> None:
    project.put("bomb.jpg", corpus.sample("many_scans_jpeg").data + bytes(100_000))
    assert "106 scans of 7990x7990 pixels" in await refusal(project, RunSpec(scene_refs=("bomb.jpg",)))


@pytest.mark.parametrize("mode", [RunMode.DRY, RunMode.RUN])
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        pytest.param(b"just some text, no pixels", "it is not a picture", id="a text file"),
        pytest.param(b"", "the file is empty", id="zero bytes"),
        pytest.param(png(200, 200)[:-20], "is truncated", id="a truncated PNG"),
        pytest.param(png(200, 200)[:20], "is truncated", id="half a PNG header"),
        pytest.param(jpeg(200, 200)[:-2], "is truncated", id="a truncated JPEG"),
        pytest.param(huge_header(), "30000x30000 pixels; the limit is 64 megapixels", id="a huge header"),
        pytest.param(b"GIF89a" + b"\0" * 50, "it is a GIF", id="a GIF"),
    ],
)
async def test_a_bad_picture_makes_no_plan_in_either_mode(
    project: ConfigProject, mode: RunMode, content: bytes, problem: str
) -> None:
    project.put("bad.png", content)

    for spec in (
        RunSpec(mode=mode, scene_refs=("scenes/pier.jpg", "bad.png")),
        RunSpec(mode=mode, input="bad.png"),
        RunSpec(mode=mode, input="scenes", style_refs=("bad.png",)),
    ):
        message = await refusal(project, spec)
        assert "'bad.png'" in message
        assert problem in message


@pytest.mark.parametrize(
    ("ref", "problem"),
    [
        pytest.param("missing.png", "'missing.png' was not found; name a file below", id="missing"),
        pytest.param("scenes", "'scenes' has no picture's extension", id="a folder"),
        pytest.param("folder.png", "'folder.png' was not found", id="a folder named like a picture"),
        pytest.param("notes.txt", "'notes.txt' has no picture's extension (allowed: jpg, ", id="a text file"),
        pytest.param("../outside.png", "leads outside the project", id="two dots"),
        pytest.param("scenes/../scenes/pier.jpg", "without '..'", id="two dots that would stay inside"),
        pytest.param("/etc/passwd", "leads outside the project", id="absolute elsewhere"),
        pytest.param("link.png", "leads outside the project", id="a symlink out"),
        pytest.param("linked/outside.png", "leads outside the project", id="through a symlink out"),
        pytest.param("a\0.png", "leads outside the project", id="a NUL"),
        pytest.param("a\nb.png", r"'a\nb.png' was not found", id="a line break"),
        pytest.param("n" * 3000 + ".png", "", id="longer than any name"),
        pytest.param("pipe.png", "'pipe.png' was not found", id="a pipe"),
    ],
)
async def test_a_ref_that_is_no_picture_of_the_project_makes_no_plan(
    project: ConfigProject, tmp_path: Path, ref: str, problem: str
) -> None:
    (tmp_path / "outside.png").write_bytes(png())
    (project.root / "link.png").symlink_to(tmp_path / "outside.png")
    (project.root / "linked").symlink_to(tmp_path)
    (project.root / "folder.png").mkdir()
    os.mkfifo(project.root / "pipe.png")
    project.put("notes.txt", "x")

    assert problem in await refusal(project, RunSpec(scene_refs=("scenes/pier.jpg", ref)))
    assert problem in await refusal(project, RunSpec(input="scenes", style_refs=(ref,)))


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        pytest.param("missing", "Input 'missing' was not found; name a file or folder", id="missing"),
        pytest.param("empty", "No scene references: folder 'empty' has no pictures", id="an empty folder"),
        pytest.param("texts", "No scene references: folder 'texts' has no pictures", id="no pictures in it"),
        pytest.param("texts/a.txt", "No scene references: input 'texts/a.txt' is not a picture", id="a text"),
        pytest.param("../..", "leads outside the project", id="two dots"),
        pytest.param("linked", "leads outside the project", id="a symlink out"),
        pytest.param("strange", r"'\xff.png' is not valid UTF-8; rename the file", id="a name in no UTF-8"),
    ],
)
async def test_an_input_without_pictures_makes_no_plan(
    project: ConfigProject, tmp_path: Path, path: str, problem: str
) -> None:
    (project.root / "empty").mkdir()
    project.put("texts/a.txt", "x")
    (tmp_path / "away").mkdir()
    (project.root / "linked").symlink_to(tmp_path / "away")
    project.put(os.fsdecode(b"strange/\xff.png"), png())

    assert problem in await refusal(project, RunSpec(input=path))


async def test_the_first_bad_picture_in_order_is_named(project: ConfigProject) -> None:
    spec = RunSpec(scene_refs=("scenes/pier.jpg", "gone2.png", "gone1.png"), style_refs=("gone0.png",))

    assert "'gone2.png'" in await refusal(project, spec)


@pytest.mark.parametrize("mode", [RunMode.DRY, RunMode.RUN])
async def test_21_scenes_are_one_too_many(project: ConfigProject, mode: RunMode) -> None:
    for n in range(21):
        project.put(f"many/{n:02}.png", png(2, 2))
    refs = tuple(f"many/{n:02}.png" for n in range(21))

    assert len((await planned(project, RunSpec(mode=mode, scene_refs=refs[:20]))).jobs) == 20
    for spec in (RunSpec(mode=mode, scene_refs=refs), RunSpec(mode=mode, input="many")):
        assert "21 scenes exceed the batch limit of 20" in await refusal(project, spec)


async def test_the_manifest_sets_the_batch_limit(project: ConfigProject) -> None:
    project.manifest(safe_batch_limit=1)

    assert "batch limit of 1" in await refusal(project, RunSpec(input="scenes"))


async def test_more_candidates_than_the_manifest_allows_are_refused_when_they_would_be_made(
    project: ConfigProject,
) -> None:
    project.manifest(generation={"max_candidates": 2})
    spec = RunSpec(mode=RunMode.RUN, input="scenes", candidates=3)

    assert "3 candidates per scene exceed the limit of 2" in await refusal(project, spec)
    assert (await planned(project, RunSpec(input="scenes", candidates=3))).candidates == 3


async def test_no_manifest_lifts_the_ceiling_of_candidates(project: ConfigProject) -> None:
    project.manifest(generation={"candidates": 256, "max_candidates": 300})

    assert "limit of 255" in await refusal(project, RunSpec(mode=RunMode.RUN, input="scenes"))


async def test_an_empty_manifest_and_no_scenes_make_no_plan(project: ConfigProject) -> None:
    assert "No scene references" in await refusal(project, RunSpec())


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        pytest.param("{", "is not valid JSON", id="broken"),
        pytest.param({"generation": {"candidates": 0}}, "'generation.candidates'", id="a wrong field"),
        pytest.param({"prompts": {"style_base": " "}}, "'prompts.style_base'", id="a blank prompt"),
    ],
)
async def test_a_bad_manifest_makes_no_plan(project: ConfigProject, content: object, problem: str) -> None:
    project.write("manifest.json", content)
    project.configure(manifest_path="manifest.json")

    assert problem in await refusal(project, RunSpec(input="scenes"))


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        pytest.param("gone.json", "gone.json: the file cannot be read: no such file", id="missing"),
        pytest.param("var", "var: the file cannot be read", id="a folder"),
        pytest.param("../m.json", "lies outside the data directory", id="outside"),
        pytest.param("pipe.json", "pipe.json: the file cannot be read", id="a pipe"),
    ],
)
async def test_an_unreadable_manifest_makes_no_plan(project: ConfigProject, path: str, problem: str) -> None:
    os.mkfifo(project.data_dir / "pipe.json")
    project.configure(manifest_path=path)

    assert problem in await refusal(project, RunSpec(input="scenes"))


async def test_toml_with_a_syntax_error_makes_no_plan(project: ConfigProject) -> None:
    project.write("config/pipeline.settings.toml", "[pipeline\nmanifest_path = 1")

    message = await refusal(project, RunSpec(input="scenes"))

    assert "config/pipeline.settings.toml: the file is not valid TOML" in message


async def test_a_bad_postprocess_config_makes_no_plan(project: ConfigProject) -> None:
    project.write("post.json", {"upscale": {"scale": 0}})
    project.configure(postprocess_config_path="post.json")

    assert "post.json: field 'upscale.scale'" in await refusal(project, RunSpec(input="scenes"))


async def test_an_unknown_background_backend_makes_no_plan(project: ConfigProject) -> None:
    project.configure(postprocess={"bg_remove": True, "bg_remove_backends": ["magic"]})

    assert "'magic'" in await refusal(project, RunSpec(input="scenes"))


async def test_an_unknown_provider_makes_no_plan(project: ConfigProject) -> None:
    message = await refusal(project, RunSpec(input="scenes"), provider="dalle")

    assert "KROMA_PROVIDER 'dalle' is unknown; choose one of: local" in message


@pytest.mark.parametrize("provider", ["local", "fake"])
async def test_the_provider_of_the_settings_is_planned(project: ConfigProject, provider: str) -> None:
    assert (await planned(project, RunSpec(input="scenes"), provider=provider)).provider == provider


@pytest.mark.parametrize(
    ("roots", "style", "allowed"),
    [
        pytest.param(["references/"], "references/ink.png", True, id="below"),
        pytest.param(["other", "./references"], "references/ink.png", True, id="below the second"),
        pytest.param(["references/ink.png"], "references/ink.png", True, id="the very file"),
        pytest.param(["."], "scenes/pier.jpg", True, id="the whole project"),
        pytest.param(["references"], "scenes/pier.jpg", False, id="beside"),
        pytest.param(["ref"], "references/ink.png", False, id="only whole segments count"),
        pytest.param([], "references/ink.png", False, id="none allowed"),
    ],
)
async def test_styles_come_only_from_the_roots_the_manifest_allows(
    project: ConfigProject,
    roots: list[str],
    style: str,
    allowed: bool,  # noqa: FBT001 - a table's column
) -> None:
    project.manifest(policy={"allowed_style_roots": roots})
    spec = RunSpec(input="scenes", style_refs=(style,))

    if allowed:
        assert (await planned(project, spec)).styles[0].ref == style
    else:
        message = await refusal(project, spec)
        assert f"Style '{style}' is outside the manifest's policy.allowed_style_roots" in message


async def test_a_root_that_cannot_be_written_makes_no_plan(project: ConfigProject) -> None:
    (project.root / "outputs").write_bytes(b"a file where a folder must be")

    message = await refusal(project, RunSpec(input="scenes"))

    assert str(project.root) in message
    assert "outputs" in message


async def test_a_root_below_a_file_makes_no_plan(project: ConfigProject) -> None:
    root = project.write("file", "x") / "comic"

    with pytest.raises(PlanningPreflightError) as caught:
        await plan_run(
            project.stores(),
            project.settings(),
            project_slug="comic",
            location=str(root),
            real_root="file/comic",
            is_confined=False,
            spec=RunSpec(scene_refs=("a.png",)),
            cpu=CpuPool(1),
        )

    assert str(root) in caught.value.message


async def test_a_plan_that_fails_writes_no_folder(project: ConfigProject) -> None:
    await refusal(project, RunSpec(input="missing"))

    assert not (project.root / "outputs").exists()


@pytest.mark.parametrize(
    ("styles", "references", "problem"),
    [
        pytest.param(9, 6, None, id="as many as it takes"),
        pytest.param(16, 0, "not 17: the scene, 16 style references", id="too many styles"),
        pytest.param(
            9,
            7,
            "16 pictures per call, not 17: the scene, 9 style references and 7 pictures of reference sets",
            id="too many of both",
        ),
    ],
)
def test_a_provider_takes_only_so_many_pictures(styles: int, references: int, problem: str | None) -> None:
    choice = ModelChoice(provider="openai", model="m", size=None, quality=None, max_inputs=16)

    if problem is None:
        check_inputs(choice, styles, references)
        return
    with pytest.raises(PlanningPreflightError, match=problem):
        check_inputs(choice, styles, references)
