"""The shape of settings to import (contract 3.6), and its check where no framework made one."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeVar, cast

import msgspec
from msgspec import UNSET, Meta, UnsetType

from kroma.bootstrap.errors import MAX_PROBLEMS, Problem

RequiredText = str | UnsetType
SortOrder = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
Shape = TypeVar("Shape", bound=msgspec.Struct)


class ProjectInput(msgspec.Struct, frozen=True, kw_only=True):
    """The project's own texts; what is absent stays."""

    name: str | None = None
    """200 characters at most."""
    description: str | None = None
    """Blank clears it."""


class ProviderAccountInput(msgspec.Struct, frozen=True, kw_only=True):
    """A provider account; what is absent goes to its default."""

    provider_code: RequiredText = UNSET
    """Normalized like a slug."""
    display_name: str | None = None
    """The code when absent."""
    account_ref: str | None = None
    """The account or organization there; free text."""
    base_url: str | None = None
    """Another address than the provider's own."""
    enabled: bool | None = None
    """True when absent."""
    config_json: Any = None
    """Any JSON."""


class StyleGuideInput(msgspec.Struct, frozen=True, kw_only=True):
    """A style guide."""

    name: RequiredText = UNSET
    """Unique in the project."""
    instructions: RequiredText = UNSET
    """How pictures should look."""
    notes: str | None = None
    """For people."""


class CharacterInput(msgspec.Struct, frozen=True, kw_only=True):
    """A character."""

    name: RequiredText = UNSET
    """Unique in the project."""
    description: str | None = None
    """For people."""
    prompt_text: str | None = None
    """What prompts say of the character."""


class ReferenceItemInput(msgspec.Struct, frozen=True, kw_only=True):
    """An item of a reference set; one content at least."""

    id: Any = None
    """The id of an item of this set keeps its row; any other value counts as absent."""
    label: RequiredText = UNSET
    """What it is called."""
    content_uri: str | None = None
    """The address of a picture; free text, never opened."""
    content_text: str | None = None
    """The reference in words."""
    sort_order: SortOrder | None = None
    """Place in the set, smallest first; 0 when absent."""
    metadata_json: Any = None
    """Any JSON."""


class ReferenceSetInput(msgspec.Struct, frozen=True, kw_only=True):
    """A reference set with all its items."""

    name: RequiredText = UNSET
    """Unique in the project."""
    description: str | None = None
    """For people."""
    items: list[ReferenceItemInput] | None = None
    """Replaces the set's items; ``[]`` empties it."""


class SecretInput(msgspec.Struct, frozen=True, kw_only=True):
    """The name of a secret; a value is never read."""

    provider_code: RequiredText = UNSET
    """Normalized like a slug."""
    secret_name: RequiredText = UNSET
    """Its case is kept."""


class PromptTemplateInput(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt template."""

    name: RequiredText = UNSET
    """Unique in the project."""
    template_text: RequiredText = UNSET
    """The text; placeholders in it stay as they are."""


class SettingsInput(msgspec.Struct, frozen=True, kw_only=True):
    """Settings to import; sections that are absent or null are left alone."""

    project: ProjectInput | None = None
    """The project's own texts."""
    provider_accounts: list[ProviderAccountInput] | None = None
    """How providers are reached."""
    style_guides: list[StyleGuideInput] | None = None
    """How pictures should look."""
    characters: list[CharacterInput] | None = None
    """Who appears in them."""
    reference_sets: list[ReferenceSetInput] | None = None
    """What they refer to."""
    secrets: list[SecretInput] | None = None
    """Names of secrets to fill in later."""
    prompt_templates: list[PromptTemplateInput] | None = None
    """Named texts."""

    @property
    def count(self) -> int:
        sections = (getattr(self, name) or () for name in SECTIONS if name != "project")
        items = (reference_set.items or () for reference_set in self.reference_sets or ())
        return sum(map(len, (*sections, *items)))


SECTIONS: Final = SettingsInput.__struct_fields__
"""In the order of their checks."""

_ELEMENTS: Final[Mapping[str, type[msgspec.Struct]]] = {
    "provider_accounts": ProviderAccountInput,
    "style_guides": StyleGuideInput,
    "characters": CharacterInput,
    "reference_sets": ReferenceSetInput,
    "secrets": SecretInput,
    "prompt_templates": PromptTemplateInput,
}


_JSON_TYPES: Final[Mapping[type, str]] = {
    str: "string",
    bool: "boolean",
    int: "number",
    float: "number",
    list: "array",
    dict: "object",
}

Numbered = Mapping[str, Any]
"""Sections by name; elements of lists with the index under which they were given."""


def numbered(settings: SettingsInput) -> Numbered:
    """Well-typed settings."""
    values: dict[str, Any] = {name: getattr(settings, name) for name in SECTIONS}
    return {
        name: list(enumerate(cast("list[Any]", value))) if isinstance(value, list) else value
        for name, value in values.items()
    }


class ShapeCheck:
    """Types decoded JSON, and tells every wrong type apart until there are `MAX_PROBLEMS`."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    @property
    def is_full(self) -> bool:
        """Whether no more problems are told, so that what is left need not be looked at."""
        return len(self.problems) >= MAX_PROBLEMS

    def wrapper(self, answer: Mapping[str, Any]) -> tuple[Numbered, str | None]:
        """The sections and the mode of an object with ``settings``."""
        mode = self._field("", None, "mode", answer.get("mode"), str | None)
        settings = answer["settings"]
        if not isinstance(settings, dict):
            self._refuse("", None, "settings", _not_a(settings, "an object"))
            return {}, mode
        return self.sections(cast("dict[str, Any]", settings)), mode

    def body(self, raw: object, shape: type[msgspec.Struct]) -> None:
        """A request's body, whose field ``settings`` is checked element by element."""
        if not isinstance(raw, dict):
            return
        given = cast("dict[str, object]", raw)
        self._fields("", None, "", {**given, "settings": None}, shape)
        settings = given.get("settings")
        if isinstance(settings, dict):
            self.sections(cast("dict[str, Any]", settings))
        elif settings is not None:
            self._refuse("", None, "settings", _not_a(settings, "an object"))

    def sections(self, raw: Mapping[str, Any]) -> Numbered:
        """The sections of an object; elements of a wrong type are left out."""
        typed: dict[str, Any] = {}
        for section in SECTIONS:
            value = raw.get(section)
            if value is None:
                continue
            if section == "project":
                typed[section] = self._struct(section, None, "", value, ProjectInput)
            elif isinstance(value, list):
                elements = (
                    (index, self._element(section, index, element))
                    for index, element in enumerate(cast("list[object]", value))
                    if not self.is_full
                )
                typed[section] = [pair for pair in elements if pair[1] is not None]
            else:
                self._refuse(section, None, "", _not_a(value, "an array"))
        return typed

    def _element(self, section: str, index: int, raw: object) -> msgspec.Struct | None:
        items = cast("dict[str, object]", raw).get("items") if isinstance(raw, dict) else None
        if section != "reference_sets" or not isinstance(items, list):
            return self._struct(section, index, "", cast("object", raw), _ELEMENTS[section])
        known = len(self.problems)
        without_items = cast("dict[str, object]", raw) | {"items": None}
        reference_set = self._struct(section, index, "", without_items, ReferenceSetInput)
        shaped = [
            self._struct(section, index, f"items[{number}]", item, ReferenceItemInput)
            for number, item in enumerate(cast("list[object]", items))
            if not self.is_full
        ]
        if reference_set is None or len(self.problems) > known:
            return None
        return msgspec.structs.replace(reference_set, items=[item for item in shaped if item is not None])

    def _struct(
        self, section: str, index: int | None, path: str, raw: object, shape: type[Shape]
    ) -> Shape | None:
        if not isinstance(raw, dict):
            self._refuse(section, index, path, _not_a(raw, "an object"))
            return None
        try:
            return msgspec.convert(raw, shape)
        except msgspec.ValidationError:
            self._fields(section, index, path, cast("dict[str, object]", raw), shape)
            return None

    def _fields(
        self,
        section: str,
        index: int | None,
        path: str,
        given: Mapping[str, object],
        shape: type[msgspec.Struct],
    ) -> None:
        for field in msgspec.structs.fields(shape):
            if field.name in given:
                name = f"{path}.{field.name}" if path else field.name
                self._field(section, index, name, given[field.name], field.type)

    def _field(self, section: str, index: int | None, field: str, raw: object, expected: Any) -> Any:  # noqa: ANN401 - what the struct declares
        try:
            return msgspec.convert(raw, expected)
        except msgspec.ValidationError as exc:
            self._refuse(section, index, field, str(exc).partition(" - at `$")[0].replace("`", ""))
            return None

    def _refuse(self, section: str, index: int | None, field: str, wrong: str) -> None:
        element = section if index is None else f"{section}[{index}]"
        path = ".".join(part for part in (element, field) if part)
        self.problems.append(
            Problem(section=section, index=index, field=field, message=f"Field '{path}': {wrong}")
        )


def _not_a(value: object, expected: str) -> str:
    return f"Expected {expected}, got {_JSON_TYPES.get(type(value), 'null')}"
