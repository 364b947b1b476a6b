"""Forty scenes, each with one good candidate and three spoiled ones, for the rank to choose from."""

import io
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kroma.imaging.color_check import GuardSettings
from kroma.pipeline.execution.image_job import Candidate, ImageJob
from kroma.pipeline.execution.step_tools import StepTools
from kroma.pipeline.planning.plan import PlannedJob, PlannedPicture
from kroma.runlog.schema import FileLog
from kroma.runs.models import CandidateStatus
from style_references import style_reference
from support.builders.factories import scene_png
from support.doubles.memory_store import MemoryStore

SIZE = (96, 144)
SCENES = 40
STAGES = (("style", "day", "clear"), ("time", "night", "clear"), ("weather", "day", "rain"))
STYLES = ("noir ink", "ink wash")
SPOILED = ("blurred", "shifted", "recoloured", "blank", "near copy")
PROJECT = UUID(int=1)

Rgb = NDArray[np.uint8]


class MadeScene(msgspec.Struct):
    """A job whose candidates have been generated, and which of them is good."""

    job: ImageJob
    good: int
    """Index of the good candidate, from 1."""
    kinds: list[str]
    """Of each candidate, in order of index."""


class InlineCpu:
    """Picture work in the test's own process."""

    async def run(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)


class ForgetfulRecorder:
    """Remembers no step."""

    async def find(self, name: str, kind: type[Any]) -> Any:  # noqa: ARG002
        return None

    async def record(self, name: str, output: object, **options: Any) -> None:
        """Nothing."""


def tools_for(store: MemoryStore, **more: Any) -> StepTools:
    async def is_canceled() -> bool:
        return False

    parts: dict[str, Any] = {"provider": None, "cpu": InlineCpu(), "recorder": ForgetfulRecorder()}
    return StepTools(store=store, may_retry=False, is_canceled=is_canceled, **parts, **more)


def png(rgb: Rgb) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def pixels(data: bytes) -> Rgb:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


async def made_scenes(store: MemoryStore, count: int = SCENES) -> list[MadeScene]:
    """The set; the same every time, the place of the good one shuffled by the scene's number."""
    styles = [await _put(store, f"styles/{kind}.png", style_reference(kind, (160, 200))) for kind in STYLES]
    return [await _made(store, number, tuple(styles)) for number in range(count)]


async def _made(store: MemoryStore, number: int, styles: tuple[PlannedPicture, ...]) -> MadeScene:
    rng = np.random.default_rng(number)
    data = scene_png(*SIZE, seed=number)
    stage, time_of_day, weather = STAGES[number % len(STAGES)]
    good = drawn(pixels(data), rng, at_night=time_of_day == "night", in_rain=weather == "rain")
    pictures = [("good", good), *_spoiled(good, rng)]
    placed = [pictures[location] for location in rng.permutation(len(pictures))]
    kinds = [kind for kind, _ in placed]
    job = ImageJob(
        run_id=UUID(int=2),
        job_id=UUID(int=number),
        project_id=PROJECT,
        ordinal=number,
        planned=PlannedJob(
            job_key=f"{stage}_{number}", prompt="", scene=await _put(store, f"scenes/{number}.png", data)
        ),
        styles=styles,
        stage=stage,
        time_of_day=time_of_day,
        weather=weather,
        guard=GuardSettings(),
        provider="local",
        size=None,
        quality=None,
        seed=number,
        candidate_count=len(placed),
        candidates=tuple(
            [
                await candidate_of(store, f"outputs/{number}_{index}.png", index, png(picture))
                for index, (_, picture) in enumerate(placed, start=1)
            ]
        ),
    )
    return MadeScene(job=job, good=kinds.index("good") + 1, kinds=kinds)


async def candidate_of(store: MemoryStore, key: str, index: int, data: bytes) -> Candidate:
    await store.put(key, data)
    height, width = pixels(data).shape[:2]
    file = FileLog(
        asset_id=uuid4(),
        path=key,
        storage_uri=key,
        sha256="0" * 64,
        size_bytes=len(data),
        mime_type="image/png",
        width=width,
        height=height,
    )
    status = CandidateStatus.GENERATED
    return Candidate(id=uuid4(), index=index, status=status, seed=0, provider="local", file=file)


async def _put(store: MemoryStore, key: str, data: bytes) -> PlannedPicture:
    await store.put(key, data)
    height, width = pixels(data).shape[:2]
    return PlannedPicture(
        ref=key, key=key, mime_type="image/png", width=width, height=height, size_bytes=len(data)
    )


def drawn(scene: Rgb, rng: np.random.Generator, *, at_night: bool, in_rain: bool) -> Rgb:
    """A gray drawing in a few milliseconds: the real one takes long, and is tried elsewhere."""
    gray = cv2.cvtColor(scene, cv2.COLOR_RGB2GRAY)
    lines = cv2.adaptiveThreshold(gray, 255, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY, 7, 4)
    tones = cv2.bilateralFilter(gray, 5, 30, 3) * (0.45 if at_night else 1.0) + rng.normal(0, 3, gray.shape)
    ink = np.where(lines > 0, tones, 20.0)
    if in_rain:
        streaks = np.where(rng.random(gray.shape) > 0.985, 255.0, 0.0)
        ink += 1.5 * cv2.filter2D(streaks, -1, np.eye(9) / 9)
    return clipped(np.repeat(ink[..., None], 3, axis=2))


def _spoiled(good: Rgb, rng: np.random.Generator) -> Iterator[tuple[str, Rgb]]:
    kinds = sorted(rng.choice(SPOILED, 3, replace=False), key=lambda kind: kind == "near copy")
    made: list[Rgb] = []
    for kind in kinds:
        source = made[-1] if kind == "near copy" else good
        made.append(spoil(str(kind), source, rng))
        yield str(kind), made[-1]


def spoil(kind: str, picture: Rgb, rng: np.random.Generator) -> Rgb:
    """One picture, spoiled in one way."""
    height, width = picture.shape[:2]
    match kind:
        case "blurred":
            return cv2.GaussianBlur(picture, (0, 0), rng.uniform(1.2, 3.0) * max(1.0, width / 200))
        case "shifted":
            angle, by = rng.uniform(0, 2 * np.pi), rng.uniform(0.05, 0.12)
            move = np.array(
                [[1, 0, by * width * np.cos(angle)], [0, 1, by * height * np.sin(angle)]], np.float32
            )
            return cv2.warpAffine(picture, move, (width, height), borderMode=cv2.BORDER_REPLICATE)
        case "recoloured":
            return clipped(picture * rng.permutation([1.25, 1.0, 0.7]))
        case "blank":
            return clipped(rng.integers(20, 240) + rng.normal(0, 1.5, picture.shape))
        case _:
            return clipped(picture + rng.normal(0, 2, picture.shape))


def clipped(values: NDArray[np.float64]) -> Rgb:
    return np.clip(values, 0, 255).astype(np.uint8)
