"""The steps of a job, in order.

Each module is one step: a frozen ``ImageJob`` in, a frozen one out, the outside world only through
``StepTools``. To add a step, copy ``rank.py`` and add it to ``STEPS``.
"""

from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from kroma.pipeline.execution.image_job import ImageJob
from kroma.pipeline.execution.step_tools import StepTools
from kroma.pipeline.execution.steps.check_quality import check_quality
from kroma.pipeline.execution.steps.generate import generate
from kroma.pipeline.execution.steps.postprocess import postprocess
from kroma.pipeline.execution.steps.rank import rank
from kroma.pipeline.execution.steps.verify import verify
from kroma.pipeline.planning.plan import RunPlan


class Step(msgspec.Struct, frozen=True):
    """A named step; the name is what the table and the run log record."""

    name: str
    apply: Callable[[ImageJob, StepTools], Awaitable[ImageJob]]
    with_tools_only: bool = False
    """Whether it is left out where nothing is to be post-processed."""

    at_once: bool = False
    """Whether it takes no time, so that the record of the step before may wait for its own."""

    def is_needed(self, job: ImageJob) -> bool:
        return job.tools is not None or not self.with_tools_only


STEPS: Final = (
    Step("generate", generate),
    Step("check_quality", check_quality),
    Step("rank", rank, at_once=True),
    Step("postprocess", postprocess, with_tools_only=True),
    Step("verify", verify, with_tools_only=True),
)


def step_names(plan: RunPlan) -> list[str]:
    """The steps that the jobs of a run go through, in order."""
    return [step.name for step in STEPS if plan.tools is not None or not step.with_tools_only]
