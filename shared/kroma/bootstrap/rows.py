"""The rows of the sections: read, written and removed with one statement per table."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Final, TypeVar, cast
from uuid import UUID

import msgspec
from sqlalchemy import (
    ARRAY,
    Insert,
    Table,
    Uuid,
    bindparam,
    column,
    delete,
    func,
    select,
)
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.bootstrap.content import (
    Character,
    Item,
    PromptTemplate,
    ProviderAccount,
    ReferenceSet,
    Row,
    Secret,
    Settings,
    StyleGuide,
)
from kroma.db.base import Base
from kroma.project_texts.models import Character as CharacterModel
from kroma.project_texts.models import PromptTemplate as PromptTemplateModel
from kroma.project_texts.models import ReferenceSet as ReferenceSetModel
from kroma.project_texts.models import ReferenceSetItem as ItemModel
from kroma.project_texts.models import StyleGuide as StyleGuideModel
from kroma.provider_accounts.models import ProviderAccount as ProviderAccountModel
from kroma.secrets.models import ProjectSecret

_MODELS: Final[Mapping[str, type[Base]]] = {
    model.__tablename__: model
    for model in (
        ProviderAccountModel,
        StyleGuideModel,
        CharacterModel,
        ReferenceSetModel,
        ItemModel,
        ProjectSecret,
        PromptTemplateModel,
    )
}
_STAMPS: Final = ("created_at", "updated_at")
_SECRET_COLUMNS: Final = ("project_id", "provider_code", "secret_name", *_STAMPS)

ColumnValues = dict[str, Any]
"""A row by column, in types that JSON can carry."""

Content = TypeVar("Content")


async def read_settings(session: AsyncSession, project_id: UUID, *, locked: Iterable[str] = ()) -> Settings:
    """The six sections of a project in the order of their lists.

    Args:
        locked: Sections whose rows nobody else may change until the transaction ends.
    """
    kept = frozenset(locked)
    stated = {
        section: statement.with_for_update() if section in kept else statement
        for section, statement in _READS.items()
    }
    # Sets before their items: whoever adds an item holds its set.
    found: dict[str, Sequence[Any]] = {
        section: (await session.execute(statement, {"project": project_id})).all()
        for section, statement in stated.items()
    }
    read_items = _READ_ITEMS.with_for_update() if "reference_sets" in kept else _READ_ITEMS
    items: dict[UUID, list[Row[Item]]] = {}
    for set_id, *row in (await session.execute(read_items, {"project": project_id})).all():
        items.setdefault(set_id, []).append(_row(Item, row))
    return Settings(
        provider_accounts=[_coded(ProviderAccount, row) for row in found["provider_accounts"]],
        style_guides=[_row(StyleGuide, row) for row in found["style_guides"]],
        characters=[_row(Character, row) for row in found["characters"]],
        reference_sets=[
            Row(
                id=set_id,
                content=ReferenceSet(name=name, description=text, items=tuple(items.get(set_id, ()))),
                created_at=created_at,
                updated_at=updated_at,
            )
            for set_id, created_at, updated_at, name, text in found["reference_sets"]
        ],
        secrets=[_coded(Secret, row) for row in found["secrets"]],
        prompt_templates=[_row(PromptTemplate, row) for row in found["prompt_templates"]],
    )


def _row(content: type[Content], values: Sequence[Any]) -> Row[Content]:
    identifier, created_at, updated_at, *fields = values
    return Row(id=identifier, content=content(*fields), created_at=created_at, updated_at=updated_at)


def _coded(content: type[Content], values: Sequence[Any]) -> Row[Content]:
    return _row(content, (None, *values))


def _listed(model: Any, *columns: str) -> Any:  # noqa: ANN401 - a selection of as many columns as named
    return (
        select(*(getattr(model, name) for name in ("id", *_STAMPS, *columns)))
        .where(model.project_id == bindparam("project"))
        .order_by(model.updated_at.desc(), model.id.desc())
    )


_READS: Final[Mapping[str, Any]] = {
    "provider_accounts": select(
        ProviderAccountModel.created_at,
        ProviderAccountModel.updated_at,
        ProviderAccountModel.provider_code,
        ProviderAccountModel.display_name,
        ProviderAccountModel.account_ref,
        ProviderAccountModel.base_url,
        ProviderAccountModel.enabled,
        ProviderAccountModel.config_json,
    )
    .where(ProviderAccountModel.project_id == bindparam("project"))
    .order_by(ProviderAccountModel.provider_code.collate("C")),
    "style_guides": _listed(StyleGuideModel, "name", "instructions", "notes"),
    "characters": _listed(CharacterModel, "name", "description", "prompt_text"),
    "reference_sets": _listed(ReferenceSetModel, "name", "description"),
    "secrets": select(
        ProjectSecret.created_at,
        ProjectSecret.updated_at,
        ProjectSecret.provider_code,
        ProjectSecret.secret_name,
        func.btrim(ProjectSecret.secret_value, " \t\r\n") != "",
    )
    .where(ProjectSecret.project_id == bindparam("project"))
    .order_by(ProjectSecret.provider_code.collate("C"), ProjectSecret.secret_name.collate("C")),
    "prompt_templates": _listed(PromptTemplateModel, "name", "template_text"),
}
# The bare table: mapped columns would pass the thousands of rows through the ORM.
_ITEMS: Final = ItemModel.__table__.c
_READ_ITEMS: Final = (
    select(
        _ITEMS.reference_set_id,
        _ITEMS.id,
        _ITEMS.created_at,
        _ITEMS.updated_at,
        _ITEMS.label,
        _ITEMS.content_uri,
        _ITEMS.content_text,
        _ITEMS.sort_order,
        _ITEMS.metadata_json,
    )
    .where(_ITEMS.project_id == bindparam("project"))
    .order_by(_ITEMS.sort_order, _ITEMS.updated_at.desc(), _ITEMS.id.desc())
)


def table_rows(project_id: UUID, rows: Iterable[Row[Any]]) -> dict[str, list[ColumnValues]]:
    """Rows of one section by table; those of sets bring their items."""
    tables: dict[str, list[ColumnValues]] = {}
    for row in rows:
        content = msgspec.structs.asdict(row.content)
        items: tuple[Row[Item], ...] = content.pop("items", ())
        content.pop("has_value", None)
        table = _TABLES[type(row.content)]
        tables.setdefault(table, []).append(_values(project_id, row, content))
        if items:
            of_sets = tables.setdefault(ItemModel.__tablename__, [])
            of_sets.extend(
                _values(project_id, item, msgspec.structs.asdict(item.content) | {"reference_set_id": row.id})
                for item in items
            )
    return tables


_TABLES: Final[Mapping[type[Any], str]] = {
    ProviderAccount: ProviderAccountModel.__tablename__,
    StyleGuide: StyleGuideModel.__tablename__,
    Character: CharacterModel.__tablename__,
    ReferenceSet: ReferenceSetModel.__tablename__,
    Secret: ProjectSecret.__tablename__,
    PromptTemplate: PromptTemplateModel.__tablename__,
}


def _values(project_id: UUID, row: Row[Any], content: Mapping[str, Any]) -> ColumnValues:
    key = {} if row.id is None else {"id": row.id}
    return {
        "project_id": project_id,
        **key,
        **content,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }


async def write_rows(session: AsyncSession, table: str, rows: Sequence[ColumnValues]) -> None:
    """Insert rows of a table; one whose key is there already is overwritten, but keeps ``created_at``.

    Of a secret, only its stamp is.
    """
    if rows:
        await session.execute(_upsert(table), {"rows": list(rows)})


async def delete_rows(session: AsyncSession, table: str, ids: Sequence[UUID]) -> None:
    """Remove rows by id."""
    if ids:
        model: Any = _MODELS[table]
        # One array, not one parameter per row.
        await session.execute(
            delete(model).where(model.id == func.any(bindparam("ids", list(ids), type_=ARRAY(Uuid()))))
        )


async def clear_tables(session: AsyncSession, project_id: UUID, tables: Iterable[str]) -> None:
    """Remove all rows of a project."""
    for table in tables:
        model: Any = _MODELS[table]
        await session.execute(delete(model).where(model.project_id == project_id))


def section_tables(section: str) -> tuple[str, ...]:
    """The tables of a section, in the order of their removal."""
    table = ProjectSecret.__tablename__ if section == "secrets" else section
    return (ItemModel.__tablename__, table) if section == "reference_sets" else (table,)


@cache
def _upsert(table_name: str) -> Insert:
    # Not made when this module is read: columns get the type of the key that they refer to later.
    table = cast("Table", _MODELS[table_name].__table__)
    names = _SECRET_COLUMNS if table is ProjectSecret.__table__ else tuple(table.c.keys())
    given = (
        func.jsonb_to_recordset(bindparam("rows", type_=JSONB))
        .table_valued(*(column(name, table.c[name].type) for name in names), name="given")
        .render_derived(with_types=True)
    )
    statement = insert(table).from_select(list(names), select(*given.c), include_defaults=False)
    key = tuple(part.name for part in table.primary_key)
    changing = [name for name in names if name not in {*key, "project_id", "created_at"}]
    return statement.on_conflict_do_update(
        index_elements=key, set_={name: statement.excluded[name] for name in changing}
    )
