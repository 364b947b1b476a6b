"""The rank finds the good picture among spoiled ones, where the original took the first survivor."""

import msgspec
import pytest

from kroma.pipeline.execution.image_job import ImageJob
from kroma.pipeline.execution.steps.check_quality import check_quality
from kroma.pipeline.execution.steps.rank import rank
from kroma.runs.models import CandidateStatus
from support.builders.ranking_set import SCENES, MadeScene, made_scenes, tools_for
from support.doubles.memory_store import MemoryStore

pytestmark = pytest.mark.timeout(120)


def first_survivor(job: ImageJob) -> int:
    """Pipeline.md 6.3: what the original chose by, the color guard alone."""
    passed = [c for c in job.candidates if c.status is CandidateStatus.DONE]
    best = min(
        passed,
        key=lambda c: (c.rank.hard_failures, c.rank.soft_warnings, c.rank.avg_chroma_exceed, c.index),
    )
    return best.index


async def test_the_good_one_of_four_wins_in_at_least_38_of_40_scenes() -> None:
    store = MemoryStore("made")
    tools = tools_for(store)
    lost: list[MadeScene] = []
    original = 0
    for scene in await made_scenes(store):
        checked = await check_quality(scene.job, tools)
        original += first_survivor(checked) == scene.good
        ranked = await rank(checked, tools)
        assert ranked.winner is not None
        if ranked.winner.index != scene.good:
            lost.append(msgspec.structs.replace(scene, job=ranked))
    won = SCENES - len(lost)
    print(f"our rank: {won} of {SCENES}; first survivor: {original} of {SCENES}")  # noqa: T201
    for scene in lost:
        print(scene.kinds, *(f"\n  {c.index} {c.reason}" for c in scene.job.candidates))  # noqa: T201
    assert won >= 38
    assert original < 20
