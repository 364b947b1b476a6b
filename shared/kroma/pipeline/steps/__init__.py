"""The steps of a job, in order."""

from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from kroma.pipeline.image_job import ImageJob
from kroma.pipeline.steps.check_quality import check_quality
from kroma.pipeline.steps.generate import generate
from kroma.pipeline.steps.rank import rank
from kroma.pipeline.tools import StepTools


class Step(msgspec.Struct, frozen=True):
    """A named step; the name is what the table and the run log record."""

    name: str
    apply: Callable[[ImageJob, StepTools], Awaitable[ImageJob]]


STEPS: Final = (Step("generate", generate), Step("check_quality", check_quality), Step("rank", rank))
