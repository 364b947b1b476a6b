"""Composing the prompt of a run (pipeline.md 3.2)."""

from typing import Final

from kroma.pipeline.errors import PlanningPreflightError
from kroma.pipeline.manifest import Manifest
from kroma.runs.models import Stage, TimeOfDay, Weather

NO_INVENTION: Final = (
    "Do not add any kind of object, figure or building that the source picture does not hold."
)


def compose_prompt(manifest: Manifest, *, stage: Stage, time_of_day: TimeOfDay, weather: Weather) -> str:
    """The one prompt of all jobs of a run; only the pictures differ.

    Raises:
        PlanningPreflightError: A text that the stage needs is blank; the message names its slot.
    """
    slots = ["style_base"]
    if stage in {Stage.TIME, Stage.WEATHER}:
        slots.append(f"time_{time_of_day}")
    if stage is Stage.WEATHER:
        slots.append(f"weather_{weather}")
    pieces = [_prompt(manifest, slot) for slot in slots]
    if manifest.default_no_invention:
        pieces.append(NO_INVENTION)
    return " ".join(pieces)


def _prompt(manifest: Manifest, slot: str) -> str:
    text = manifest.prompts.get(slot, "").strip()
    if not text:
        raise PlanningPreflightError(
            f"Prompt 'prompts.{slot}' of the manifest is blank; write one or remove the key"
        )
    return text
