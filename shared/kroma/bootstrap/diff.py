"""What an import would leave, and what it counts as changed; preview and write follow the same plan."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Generic, TypeVar
from uuid import UUID, uuid4

import msgspec

from kroma.bootstrap.content import (
    Item,
    ReferenceSet,
    Row,
    Secret,
    Settings,
    exact_key,
    key_of,
    matched,
    same_content,
)
from kroma.bootstrap.payload import GivenItem, GivenSet, ImportMode, Payload

Content = TypeVar("Content")

_STEP: Final = timedelta(microseconds=1)
"""Rows written together get stamps that go down, so that lists keep the order they were given in."""


class SectionChanges(msgspec.Struct, frozen=True, kw_only=True):
    """What an import does to a section."""

    provided: bool
    replaced: bool
    before_count: int
    after_count: int
    created: int
    updated: int
    deleted: int
    unchanged: int


class SectionPlan(msgspec.Struct, Generic[Content], frozen=True, kw_only=True):
    """A section after an import."""

    written: list[Row[Content]]
    """New and changed rows, in the order given."""
    after: list[Row[Content]]
    """All rows, in no order."""
    changes: SectionChanges


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The six sections after an import."""

    sections: dict[str, SectionPlan[Any]]
    settings: Settings


def plan_import(before: Settings, payload: Payload, *, now: datetime, preview: bool) -> Plan:
    """Apply a payload to what is stored, in memory.

    Args:
        before: What is stored.
        payload: What is given.
        now: The stamp of everything that is written.
        preview: In a preview matches keep their ids in both modes, and lists are sorted by key;
            replaced rows get new ids otherwise, and lists are sorted as the routes sort them.
    """
    replacing = payload.mode is ImportMode.REPLACE

    def planned(section: str, given: Sequence[Any] | None, *, replaced: bool = replacing) -> SectionPlan[Any]:
        return _planned(
            getattr(before, section),
            given,
            replaced=replaced and given is not None,
            keep_ids=preview or not replaced,
            now=now,
        )

    sets = payload.reference_sets
    sections = {
        "provider_accounts": planned("provider_accounts", payload.provider_accounts),
        "style_guides": planned("style_guides", payload.style_guides),
        "characters": planned("characters", payload.characters),
        "reference_sets": planned(
            "reference_sets", None if sets is None else _with_items(before.reference_sets, sets, now=now)
        ),
        "secrets": planned("secrets", _known(before.secrets, payload.secrets), replaced=False),
        "prompt_templates": planned("prompt_templates", payload.prompt_templates),
    }
    order: Callable[[str, list[Row[Any]]], list[Row[Any]]] = _by_key if preview else _as_listed
    after: dict[str, Any] = {name: order(name, plan.after) for name, plan in sections.items()}
    return Plan(sections=sections, settings=Settings(**after))


def _planned(
    before: Sequence[Row[Content]],
    given: Sequence[Content] | None,
    *,
    replaced: bool,
    keep_ids: bool,
    now: datetime,
) -> SectionPlan[Content]:
    stored = {exact_key(row.content): row for row in before}
    elements = given or ()
    names = matched(stored, (exact_key(content) for content in elements))
    written: list[Row[Content]] = []
    created = unchanged = 0
    for number, content in enumerate(elements):
        old = stored.get(names.get(exact_key(content), ""))
        if old is None:
            created += 1
        else:
            unchanged += same_content(old.content, content)
        written.append(
            _row(content, old if keep_ids else None, coded=_has_code(content), now=now - number * _STEP)
        )
    taken = set(names.values())
    others = [row for name, row in stored.items() if name not in taken]
    after = written if replaced else [*written, *others]
    return SectionPlan(
        written=written,
        after=after,
        changes=SectionChanges(
            provided=given is not None,
            replaced=replaced,
            before_count=len(before),
            after_count=len(after),
            created=created,
            updated=len(elements) - created - unchanged,
            deleted=len(others) if replaced else 0,
            unchanged=unchanged if replaced else unchanged + len(others),
        ),
    )


def _has_code(content: object) -> bool:
    return not hasattr(content, "name")


def _row(content: Content, old: Row[Content] | None, *, coded: bool, now: datetime) -> Row[Content]:
    if old is not None:
        return Row(id=old.id, content=content, created_at=old.created_at, updated_at=now)
    return Row(id=None if coded else uuid4(), content=content, created_at=now, updated_at=now)


def _known(before: Sequence[Row[Secret]], given: Sequence[Secret] | None) -> list[Secret] | None:
    """Given names of secrets; those that are stored have a value or not as they are."""
    stored = {key_of(row.content): row.content for row in before}
    return None if given is None else [stored.get(key_of(secret), secret) for secret in given]


def _with_items(
    before: Sequence[Row[ReferenceSet]], given: Sequence[GivenSet], *, now: datetime
) -> list[ReferenceSet]:
    stored = {row.content.name: row.content.items for row in before}
    names = matched(stored, (reference_set.name for reference_set in given))
    return [
        ReferenceSet(
            name=reference_set.name,
            description=reference_set.description,
            items=_items(stored.get(names.get(reference_set.name, ""), ()), reference_set.items, now=now),
        )
        for reference_set in given
    ]


def _items(
    before: Sequence[Row[Item]], given: Sequence[GivenItem], *, now: datetime
) -> tuple[Row[Item], ...]:
    """The items of a set, which keep the row that they name, once each."""
    kept: dict[UUID | None, Row[Item]] = {row.id: row for row in before}
    return tuple(
        _row(item.content, kept.pop(item.id, None), coded=False, now=now - number * _STEP)
        for number, item in enumerate(given)
    )


def _by_key(_: str, rows: list[Row[Any]]) -> list[Row[Any]]:
    return sorted(rows, key=lambda row: key_of(row.content))


def _as_listed(section: str, rows: list[Row[Any]]) -> list[Row[Any]]:
    if section in {"provider_accounts", "secrets"}:
        return _by_key(section, rows)
    return sorted(rows, key=lambda row: (row.updated_at, row.id), reverse=True)
