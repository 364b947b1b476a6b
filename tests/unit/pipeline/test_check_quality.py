"""The step that checks candidates, on files in memory."""

from typing import Any

import msgspec
import numpy as np

from kroma.imaging.measures.settings import CheckSettings, QualitySettings, Verdict
from kroma.pipeline.execution.image_job import Candidate
from kroma.pipeline.execution.steps.check_quality import check_quality
from kroma.runs.models import CandidateStatus
from support.builders.ranking_set import (
    ForgetfulRecorder,
    InlineCpu,
    candidate_of,
    made_scenes,
    png,
    tools_for,
)
from support.doubles.memory_store import MemoryStore

HARD = QualitySettings(blank=CheckSettings(threshold=0.25, verdict=Verdict.HARD))


class Recorder(ForgetfulRecorder):
    """Remembers what was recorded as JSON, as the table does."""

    def __init__(self) -> None:
        self.steps: dict[str, Any] = {}

    async def find(self, name: str, kind: type[Any]) -> Any:
        return None if name not in self.steps else msgspec.convert(self.steps[name], kind)

    async def record(self, name: str, output: object, **options: Any) -> None:  # noqa: ARG002
        self.steps[name] = msgspec.to_builtins(output)


class NoCpu:
    """Refuses work."""

    async def run(self, function: Any, *args: Any) -> Any:
        if function.__name__ == "with_duplicates":
            return await InlineCpu().run(function, *args)
        raise AssertionError(function)


async def test_a_worker_that_continues_measures_nothing_again_and_still_archives() -> None:
    store = MemoryStore("made")
    (scene,) = await made_scenes(store, 1)
    blank = await candidate_of(store, "outputs/blank.png", 2, png(np.full((144, 96, 3), 200, np.uint8)))
    job = msgspec.structs.replace(scene.job, candidates=(scene.job.candidates[0], blank), checks=HARD)
    tools = msgspec.structs.replace(tools_for(store), recorder=Recorder())
    first = await check_quality(job, tools)
    # As if the worker had died before it moved the file and recorded the step.
    archived = first.candidates[1].file
    assert archived is not None
    await store.move(archived.path, "outputs/blank.png")

    again = await check_quality(job, msgspec.structs.replace(tools, cpu=NoCpu()))

    assert again == first
    assert again.candidates[1].status is CandidateStatus.FAILED_OUTPUT_GUARD
    assert await store.get(archived.path, limit_bytes=10**6)
    assert all(candidate.thumbnail == b"" for candidate in again.candidates)


async def test_a_candidate_that_failed_before_is_left_alone() -> None:
    store = MemoryStore("made")
    (scene,) = await made_scenes(store, 1)
    failed = msgspec.structs.replace(scene.job.candidates[0], status=CandidateStatus.FAILED, file=None)
    job = msgspec.structs.replace(scene.job, candidates=(failed,))
    (kept,) = (await check_quality(job, tools_for(store))).candidates
    assert kept == failed


async def test_a_scene_that_has_gone_is_said_and_costs_no_candidate() -> None:
    store = MemoryStore("made")
    (scene,) = await made_scenes(store, 1)
    lost = msgspec.structs.replace(scene.job.planned.scene, key="scenes/gone.png")
    planned = msgspec.structs.replace(scene.job.planned, scene=lost)
    found = await check_quality(msgspec.structs.replace(scene.job, planned=planned), tools_for(store))
    assert {candidate.status for candidate in found.candidates} == {CandidateStatus.DONE}
    reasons = {check.reason for candidate in found.candidates for check in _checks(candidate)}
    assert "the scene could not be read" in reasons


def _checks(candidate: Candidate) -> list[Any]:
    assert candidate.quality is not None
    return candidate.quality.checks
