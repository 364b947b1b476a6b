"""The rules of settings to import (contract 3.6), and what is left when they hold."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Final, TypeVar, cast
from uuid import UUID

import msgspec
from msgspec import UnsetType

from kroma.bootstrap.content import (
    Character,
    Item,
    PromptTemplate,
    ProviderAccount,
    Secret,
    StyleGuide,
    key_of,
)
from kroma.bootstrap.errors import MAX_PROBLEMS, Problem, ReferenceItemsRequiredError, SettingsRefusedError
from kroma.bootstrap.inputs import (
    SECTIONS,
    CharacterInput,
    Numbered,
    ProjectInput,
    PromptTemplateInput,
    ProviderAccountInput,
    ReferenceItemInput,
    ReferenceSetInput,
    SecretInput,
    SettingsInput,
    ShapeCheck,
    StyleGuideInput,
    numbered,
)
from kroma.db.ids import row_id
from kroma.errors import InvalidRequestError, NothingGivenError, NotOneOfError
from kroma.projects.slugs import provider_code
from kroma.texts import NulCharacterError, name_text, optional_text, required_text

MAX_DEPTH: Final = 100
"""Levels of nesting that a JSON column takes from an import."""

Given = TypeVar("Given")
Checked = TypeVar("Checked")


class ImportMode(StrEnum):
    """What happens to rows that are not listed."""

    MERGE = "merge"
    REPLACE = "replace"


class TooDeepError(InvalidRequestError):
    """A JSON value nests more than may be stored."""

    def __init__(self, field: str) -> None:
        super().__init__(f"Field '{field}' must not nest deeper than {MAX_DEPTH} levels")


class ProjectTexts(msgspec.Struct, frozen=True, kw_only=True):
    """Texts of the project; None stays as it is."""

    name: str | None
    description: str | None


class GivenItem(msgspec.Struct, frozen=True, kw_only=True):
    """An item, and the row that it may keep."""

    id: UUID | None
    content: Item


class GivenSet(msgspec.Struct, frozen=True, kw_only=True):
    """A reference set."""

    name: str
    description: str | None
    items: tuple[GivenItem, ...]


class Payload(msgspec.Struct, frozen=True, kw_only=True):
    """Settings that keep the rules, without duplicates; None is a section that is not provided."""

    mode: ImportMode
    project: ProjectTexts | None
    provider_accounts: list[ProviderAccount] | None
    style_guides: list[StyleGuide] | None
    characters: list[Character] | None
    reference_sets: list[GivenSet] | None
    secrets: list[Secret] | None
    prompt_templates: list[PromptTemplate] | None
    warnings: list[Problem]
    """Duplicates that gave way to a later element, up to `MAX_PROBLEMS`."""

    @property
    def count(self) -> int:
        sections = sum(len(getattr(self, name) or ()) for name in SECTIONS if name != "project")
        return sections + sum(len(reference_set.items) for reference_set in self.reference_sets or ())


def checked_settings(settings: SettingsInput, *, mode: str | None) -> Payload:
    """Structured settings after all rules.

    Raises:
        SettingsRefusedError: With everything that breaks a rule, up to `MAX_PROBLEMS`.
    """
    return _checked(numbered(settings), mode=mode, problems=[])


def checked_answer(answer: Mapping[str, Any], *, mode: str | None) -> Payload:
    """The settings of a pasted answer after all rules.

    Args:
        answer: An object with ``settings`` and perhaps ``mode``, or the sections themselves.
        mode: The request's, which beats the answer's.

    Raises:
        SettingsRefusedError: With everything that has a wrong type or breaks a rule.
    """
    shape = ShapeCheck()
    if answer.get("settings") is None:
        return _checked(shape.sections(answer), mode=mode, problems=shape.problems)
    sections, own_mode = shape.wrapper(answer)
    if shape.problems and any(answer.get(name) is not None for name in SECTIONS):
        bare = ShapeCheck()
        return _checked(bare.sections(answer), mode=mode, problems=bare.problems)
    return _checked(sections, mode=own_mode if mode is None else mode, problems=shape.problems)


def _checked(sections: Numbered, *, mode: str | None, problems: list[Problem]) -> Payload:
    warnings: list[Problem] = []

    def section(name: str, rules: Callable[["_Element", Any], Checked]) -> list[Checked] | None:
        elements: list[tuple[int, Any]] | None = sections.get(name)
        if elements is None:
            return None
        checked = [(index, rules(_Element(problems, name, index), given)) for index, given in elements]
        return _without_duplicates(name, checked, warnings)

    project: ProjectInput | None = sections.get("project")
    payload = Payload(
        mode=_Element(problems, "", None).ruled("mode", lambda: _import_mode(mode), ImportMode.MERGE),
        project=None if project is None else _project(_Element(problems, "project", None), project),
        provider_accounts=section("provider_accounts", _provider_account),
        style_guides=section("style_guides", _style_guide),
        characters=section("characters", _character),
        reference_sets=section("reference_sets", _reference_set),
        secrets=section("secrets", _secret),
        prompt_templates=section("prompt_templates", _prompt_template),
        warnings=warnings,
    )
    if not problems and all(sections.get(name) is None for name in SECTIONS):
        message = NothingGivenError(*SECTIONS).message
        problems.append(Problem(section="", index=None, field="settings", message=message))
    if problems:
        raise SettingsRefusedError(problems)
    return payload


def _import_mode(text: str | None) -> ImportMode:
    if text is None:
        return ImportMode.MERGE
    try:
        return ImportMode(text.strip().lower())
    except ValueError as exc:
        raise NotOneOfError("mode", tuple(ImportMode)) from exc


def _without_duplicates(
    section: str, elements: list[tuple[int, Checked]], warnings: list[Problem]
) -> list[Checked]:
    last = {key_of(element): index for index, element in elements}
    kept: list[Checked] = []
    for index, element in elements:
        winner = last[key_of(element)]
        if winner == index:
            kept.append(element)
        if winner == index or len(warnings) >= MAX_PROBLEMS:
            continue
        message = f"{section}[{index}] has the same name as {section}[{winner}], which counts"
        warnings.append(Problem(section=section, index=index, field="", message=message))
    return kept


class _Element:
    """Where in the settings a rule is applied; what breaks it is noted, and a stand-in goes on."""

    def __init__(self, problems: list[Problem], section: str, index: int | None, inner: str = "") -> None:
        self._problems = problems
        self._section = section
        self._index = index
        self._inner = inner

    def item(self, number: int) -> "_Element":
        """The place of an item in a reference set."""
        return _Element(self._problems, self._section, self._index, f"items[{number}].")

    def ruled(self, field: str, rule: Callable[[], Checked], stand_in: Checked) -> Checked:
        try:
            return rule()
        except InvalidRequestError as exc:
            self._problems.append(
                Problem(
                    section=self._section,
                    index=self._index,
                    field=f"{self._inner}{field}".removesuffix("."),
                    message=exc.message,
                )
            )
            if len(self._problems) >= MAX_PROBLEMS:
                raise SettingsRefusedError(self._problems) from exc
            return stand_in

    def label(self, field: str) -> str:
        """The field as the contract's texts call it."""
        if self._index is None:
            return f"{self._section}.{field}"
        return f"{self._section}[].{'items[].' if self._inner else ''}{field}"

    def required(self, field: str, text: str | UnsetType) -> str:
        """A text that must not be blank."""
        label = self.label(field)
        return self.ruled(field, lambda: required_text(label, _without_nul(label, text)), "")

    def name(self, field: str, text: str | UnsetType) -> str:
        """A text that must not be blank and not be long."""
        label = self.label(field)
        return self.ruled(
            field, lambda: name_text(label, required_text(label, _without_nul(label, text))), ""
        )

    def code(self, text: str | UnsetType) -> str:
        return self.ruled("provider_code", lambda: name_text("provider_code", provider_code(text)), "")

    def optional(self, field: str, text: str | None) -> str | None:
        """A text that may be blank, which is stored as none."""
        label = self.label(field)
        return self.ruled(field, lambda: optional_text(_without_nul(label, text)), None)

    def json(self, field: str, value: object) -> object:
        """A JSON column; ``{}`` unless given."""
        label = self.label(field)
        stored: object = {} if value is None else value
        return self.ruled(field, lambda: _storable(label, stored), stored)


def _without_nul(label: str, text: Given) -> Given:
    if isinstance(text, str) and "\0" in text:
        raise NulCharacterError(label)
    return text


def _storable(label: str, value: object) -> object:
    level: list[object] = [value]
    depth = 0
    while level:
        below: list[object] = []
        for inner in level:
            if isinstance(inner, dict):
                entries = cast("dict[str, object]", inner)
                below.extend((*entries.keys(), *entries.values()))
            elif isinstance(inner, list):
                below.extend(cast("list[object]", inner))
            else:
                _without_nul(label, inner)
        level = below
        depth += 1
        if depth > MAX_DEPTH:
            raise TooDeepError(label)
    return value


def _project(element: _Element, given: ProjectInput) -> ProjectTexts:
    return ProjectTexts(
        name=None if given.name is None else element.name("name", given.name),
        description=None
        if given.description is None
        else element.optional("description", given.description) or "",
    )


def _provider_account(element: _Element, given: ProviderAccountInput) -> ProviderAccount:
    code = element.code(given.provider_code)
    display_name = element.optional("display_name", given.display_name) or code
    label = element.label("display_name")
    return ProviderAccount(
        provider_code=code,
        display_name=element.ruled("display_name", lambda: name_text(label, display_name), ""),
        account_ref=element.optional("account_ref", given.account_ref),
        base_url=element.optional("base_url", given.base_url),
        enabled=given.enabled is not False,
        config_json=element.json("config_json", given.config_json),
    )


def _style_guide(element: _Element, given: StyleGuideInput) -> StyleGuide:
    return StyleGuide(
        name=element.name("name", given.name),
        instructions=element.required("instructions", given.instructions),
        notes=element.optional("notes", given.notes),
    )


def _character(element: _Element, given: CharacterInput) -> Character:
    return Character(
        name=element.name("name", given.name),
        description=element.optional("description", given.description),
        prompt_text=element.optional("prompt_text", given.prompt_text),
    )


def _reference_set(element: _Element, given: ReferenceSetInput) -> GivenSet:
    name = element.name("name", given.name)
    description = element.optional("description", given.description)
    items = element.ruled("items", lambda: _present(given.items), [])
    checked = [_item(element.item(number), item) for number, item in enumerate(items)]
    return GivenSet(
        name=name,
        description=description,
        items=tuple(sorted(checked, key=lambda item: item.content.sort_order)),
    )


def _present(items: list[ReferenceItemInput] | None) -> list[ReferenceItemInput]:
    if items is None:
        raise ReferenceItemsRequiredError
    return items


def _item(element: _Element, given: ReferenceItemInput) -> GivenItem:
    content = Item(
        label=element.required("label", given.label),
        content_uri=element.optional("content_uri", given.content_uri),
        content_text=element.optional("content_text", given.content_text),
        sort_order=given.sort_order or 0,
        metadata_json=element.json("metadata_json", given.metadata_json),
    )
    element.ruled("", lambda: _with_content(given), None)
    return GivenItem(id=row_id(given.id) if isinstance(given.id, str) else None, content=content)


def _with_content(given: ReferenceItemInput) -> None:
    if optional_text(given.content_uri) is None and optional_text(given.content_text) is None:
        raise NothingGivenError("content_uri", "content_text")


def _secret(element: _Element, given: SecretInput) -> Secret:
    return Secret(
        provider_code=element.code(given.provider_code),
        secret_name=element.name("secret_name", given.secret_name),
        has_value=False,
    )


def _prompt_template(element: _Element, given: PromptTemplateInput) -> PromptTemplate:
    return PromptTemplate(
        name=element.name("name", given.name),
        template_text=element.required("template_text", given.template_text),
    )
