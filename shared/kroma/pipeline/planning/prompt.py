"""Composes the prompt from the manifest (pipeline.md 3.2) and the project's texts."""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from kroma.pipeline.planning.errors import PlanningPreflightError
from kroma.pipeline.planning.manifest import Manifest
from kroma.pipeline.planning.template import render
from kroma.runlog.schema import NamedTextLog, WordsLog
from kroma.runs.models import Stage, TimeOfDay, Weather

NO_INVENTION: Final = (
    "Do not add any kind of object, figure or building that the source picture does not hold."
)
NO_INVENTION_BUT_CHARACTERS: Final = (
    "Beside the characters who are named here, do not add any kind of object, figure or building"
    " that the source picture does not hold."
)
_SENTENCE_ENDS: Final = (".", "!", "?", ":", ";", ",", "…")


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """The scene and stage that a prompt is for."""

    stage: Stage
    time_of_day: TimeOfDay
    weather: Weather
    project: str = ""
    """The project's slug."""
    scene: str = ""
    """The scene's name."""
    scene_number: int = 1


def compose_prompt(manifest: Manifest, setting: Setting, words: WordsLog | None = None) -> str:
    """The prompt of one job.

    The manifest's texts for the stage, the project's words (style guide, characters, references), then the
    sentence against new objects. A template replaces the manifest's texts; words that it does not name are
    still appended.

    Raises:
        PlanningPreflightError: A text that the stage needs is blank, or the template cannot be rendered.
    """
    words = words or WordsLog()
    if setting.stage is Stage.CHARACTER and not words.characters and not words.references:
        raise PlanningPreflightError(
            "Stage 'character' has no character to draw; give character_ids or reference_set_ids,"
            " or add a character to the project"
        )
    added = _added(manifest, setting, words)
    if words.template is None:
        pieces = [_of_manifest(manifest, setting), *added.values()]
    else:
        values = _values(manifest, setting, words, added)
        text, named = render(words.template.text, values, name=words.template.name)
        pieces = [text, *(piece for name, piece in added.items() if name not in named)]
    return " ".join(piece for piece in pieces if piece)


def _of_manifest(manifest: Manifest, setting: Setting) -> str:
    slots = ["style_base"]
    if setting.stage in {Stage.TIME, Stage.WEATHER}:
        slots.append(f"time_{setting.time_of_day}")
    if setting.stage is Stage.WEATHER:
        slots.append(f"weather_{setting.weather}")
    if setting.stage is Stage.CHARACTER:
        slots.append("character")
    return " ".join(_prompt(manifest, slot) for slot in slots)


def _added(manifest: Manifest, setting: Setting, words: WordsLog) -> dict[str, str]:
    """The texts that follow the manifest's, in order, by their template variable."""
    no_invention = NO_INVENTION_BUT_CHARACTERS if setting.stage is Stage.CHARACTER else NO_INVENTION
    return {
        "style_guide": "" if words.style_guide is None else _sentence(words.style_guide.text),
        "character_prompts": " ".join(_described(character) for character in words.characters),
        "references": " ".join(
            _sentence(f"{item.label}: {item.text}") for item in words.references if item.text
        ),
        "no_invention": no_invention if manifest.default_no_invention else "",
    }


def _values(
    manifest: Manifest, setting: Setting, words: WordsLog, added: Mapping[str, str]
) -> Mapping[str, Callable[[], str]]:
    names = [character.name for character in words.characters]
    known = {
        "stage": str(setting.stage),
        "time": str(setting.time_of_day),
        "weather": str(setting.weather),
        "scene": setting.scene,
        "scene_number": str(setting.scene_number),
        "project": setting.project,
        "character": names[0] if len(names) == 1 else "",
        "characters": ", ".join(names),
        "style_guide_name": "" if words.style_guide is None else words.style_guide.name,
        **added,
    }
    return {
        # Evaluated only if the template names them, because a blank text is an error.
        "prompt": lambda: _of_manifest(manifest, setting),
        "style_base": lambda: _prompt(manifest, "style_base"),
        **{name: lambda value=value: value for name, value in known.items()},
    }


def _described(character: NamedTextLog) -> str:
    return _sentence(f"{character.name}: {character.text}" if character.text else character.name)


def _sentence(text: str) -> str:
    trimmed = text.strip()
    return trimmed if trimmed.endswith(_SENTENCE_ENDS) else f"{trimmed}."


def _prompt(manifest: Manifest, slot: str) -> str:
    text = manifest.prompts.get(slot, "").strip()
    if not text:
        raise PlanningPreflightError(
            f"Prompt 'prompts.{slot}' of the manifest is blank; write one or remove the key"
        )
    return text
