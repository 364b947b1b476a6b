"""Prompt templates: ``{name}`` is replaced by a value, ``{{`` and ``}}`` by braces."""

from collections.abc import Callable, Mapping
from string import Formatter
from typing import Final

from kroma.pipeline.planning.errors import PlanningPreflightError

_PARSER: Final = Formatter()


def render(text: str, values: Mapping[str, Callable[[], str]], *, name: str) -> tuple[str, frozenset[str]]:
    """The trimmed text with its variables replaced, and the variables that it names.

    ``values`` are called only for variables in the template; braces in values are not replaced.

    Raises:
        PlanningPreflightError: A brace is unmatched, or a variable is unknown or has no value.
    """
    try:
        pieces = list(_PARSER.parse(text))
    except ValueError as exc:
        raise _problem(name, f"{exc}; write {{{{ and }}}} for braces") from exc
    rendered: list[str] = []
    named: set[str] = set()
    for literal, variable, spec, conversion in pieces:
        rendered.append(literal)
        if variable is None:
            continue
        if variable not in values:
            known = ", ".join(f"{{{known}}}" for known in sorted(values))
            raise _problem(name, f"variable {{{variable}}} is unknown; use one of: {known}")
        if spec or conversion:
            raise _problem(name, f"variable {{{variable}}} must not have a format")
        value = values[variable]().strip()
        if not value:
            remedy = WANTING.get(variable, "it is blank")
            raise _problem(name, f"variable {{{variable}}} has no value in this run; {remedy}")
        rendered.append(value)
        named.add(variable)
    result = "".join(rendered).strip()
    if not result:
        raise _problem(name, "the prompt is empty")
    return result, frozenset(named)


VARIABLES: Final[Mapping[str, str]] = {
    "stage": "what the run varies: `style`, `time`, `weather` or `character`",
    "time": "`day` or `night`",
    "weather": "`clear` or `rain`",
    "scene": "the scene's file name without its extension",
    "scene_number": "the scene's position in the run, from 1",
    "project": "the project's slug",
    "prompt": "the manifest's texts for the stage, as without a template",
    "style_base": "the manifest's `prompts.style_base`",
    "no_invention": "the sentence against new objects",
    "character": "the name of the one character",
    "characters": "the names of all characters",
    "character_prompts": "each character's name and prompt text",
    "style_guide": "the style guide's instructions",
    "style_guide_name": "the style guide's name",
    "references": "label and text of each reference item that has a text",
}
"""What a template may name, for the documentation."""

_GIVE_CHARACTERS: Final = "give character_ids"
_GIVE_GUIDE: Final = "give style_guide_id"
WANTING: Final[Mapping[str, str]] = {
    "no_invention": "the manifest's policy.default_no_invention is off",
    "character": "give exactly one of character_ids",
    "characters": _GIVE_CHARACTERS,
    "character_prompts": _GIVE_CHARACTERS,
    "style_guide": _GIVE_GUIDE,
    "style_guide_name": _GIVE_GUIDE,
    "references": "give reference_set_ids with items that have a content_text",
}
"""How to give a variable a value; any other variable without one is blank."""


def _problem(name: str, problem: str) -> PlanningPreflightError:
    return PlanningPreflightError(f"Prompt template '{name}': {problem}")
