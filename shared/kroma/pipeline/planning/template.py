"""Prompt templates: ``{name}`` stands for a value, ``{{`` and ``}}`` for braces; that is all."""

from collections.abc import Callable, Mapping
from string import Formatter
from typing import Final

from kroma.pipeline.planning.errors import PlanningPreflightError

_PARSER: Final = Formatter()


def render(text: str, values: Mapping[str, Callable[[], str]], *, name: str) -> tuple[str, frozenset[str]]:
    """The text with its variables replaced; values are never looked into for variables again.

    Args:
        text: Of the template.
        values: By variable; each is called when the template names it.

    Returns:
        The trimmed text, and the variables it names.

    Raises:
        PlanningPreflightError: A brace stands alone, or a variable is unknown or has no value here.
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
            raise _problem(name, f"variable {{{variable}}} is unknown; there are: {known}")
        if spec or conversion:
            raise _problem(name, f"variable {{{variable}}} takes no format")
        value = values[variable]().strip()
        if not value:
            remedy = WANTING.get(variable, "it is blank")
            raise _problem(name, f"variable {{{variable}}} has no value in this run; {remedy}")
        rendered.append(value)
        named.add(variable)
    result = "".join(rendered).strip()
    if not result:
        raise _problem(name, "it makes an empty prompt")
    return result, frozenset(named)


VARIABLES: Final[Mapping[str, str]] = {
    "stage": "what the run varies: `style`, `time`, `weather` or `character`",
    "time": "`day` or `night`",
    "weather": "`clear` or `rain`",
    "scene": "the scene's file name without its extension",
    "scene_number": "the scene's place in the run, from 1",
    "project": "the project's slug",
    "prompt": "the manifest's texts for the stage, as they are without a template",
    "style_base": "the manifest's `prompts.style_base`",
    "no_invention": "the sentence against new objects",
    "character": "the name of the one character",
    "characters": "the names of all characters",
    "character_prompts": "each character's name and prompt text",
    "style_guide": "the style guide's instructions",
    "style_guide_name": "its name",
    "references": "label and text of each reference item that has one",
}
"""What a template may name, and what stands for it."""

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
"""What to do about a variable that has no value; of the others it is blank."""


def _problem(name: str, problem: str) -> PlanningPreflightError:
    return PlanningPreflightError(f"Prompt template '{name}': {problem}")
