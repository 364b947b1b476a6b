"""Settings as clients see them (contract 3.5)."""

from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from kroma.bootstrap.content import Settings
from kroma.projects.models import Project

SCHEMA_VERSION: Final = "kroma.bootstrap.v1"


class ProjectSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The project's own texts."""

    id: str
    slug: str
    name: str
    description: str

    @classmethod
    def of(cls, project: Project) -> "ProjectSnapshot":
        return cls(id=str(project.id), slug=project.slug, name=project.name, description=project.description)


class ProviderAccountSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A provider account."""

    project_id: str
    provider_code: str
    display_name: str
    account_ref: str
    base_url: str
    enabled: bool
    config_json: Any
    created_at: str
    updated_at: str


class StyleGuideSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A style guide."""

    id: str
    project_id: str
    name: str
    instructions: str
    notes: str
    created_at: str
    updated_at: str


class CharacterSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A character."""

    id: str
    project_id: str
    name: str
    description: str
    prompt_text: str
    created_at: str
    updated_at: str


class ReferenceItemSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """An item of a reference set."""

    id: str | UnsetType = UNSET
    """Absent in a preview for an item that would be new."""
    label: str
    content_uri: str
    content_text: str
    sort_order: int
    metadata_json: Any


class ReferenceSetSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A reference set with its items."""

    name: str
    description: str
    items: list[ReferenceItemSnapshot]


class SecretSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The name of a secret; never its value."""

    provider_code: str
    secret_name: str
    has_value: bool


class PromptTemplateSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt template."""

    id: str
    project_id: str
    name: str
    template_text: str
    created_at: str
    updated_at: str


class SettingsSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The six sections."""

    provider_accounts: list[ProviderAccountSnapshot]
    style_guides: list[StyleGuideSnapshot]
    characters: list[CharacterSnapshot]
    reference_sets: list[ReferenceSetSnapshot]
    secrets: list[SecretSnapshot]
    prompt_templates: list[PromptTemplateSnapshot]


def shown_stamp(moment: datetime) -> str:
    """A moment in seconds."""
    # strftime takes five times as long, and a project may have thousands of rows.
    return f"{moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='seconds')}Z"


def snapshot(settings: Settings, *, project_id: str, before: Settings | None = None) -> SettingsSnapshot:
    """Show settings.

    Args:
        before: What is stored, for a preview: rows that are not among it have no id yet.
    """
    stored = None if before is None else _ids(before)

    def shown_id(row: Any, preview: str) -> str:  # noqa: ANN401 - a row of any section
        return f"{preview}_{row.id}" if stored is not None and row.id not in stored else str(row.id)

    return SettingsSnapshot(
        provider_accounts=[
            ProviderAccountSnapshot(
                project_id=project_id,
                provider_code=row.content.provider_code,
                display_name=row.content.display_name,
                account_ref=row.content.account_ref or "",
                base_url=row.content.base_url or "",
                enabled=row.content.enabled,
                config_json=row.content.config_json,
                created_at=shown_stamp(row.created_at),
                updated_at=shown_stamp(row.updated_at),
            )
            for row in settings.provider_accounts
        ],
        style_guides=[
            StyleGuideSnapshot(
                id=shown_id(row, "preview_style"),
                project_id=project_id,
                name=row.content.name,
                instructions=row.content.instructions,
                notes=row.content.notes or "",
                created_at=shown_stamp(row.created_at),
                updated_at=shown_stamp(row.updated_at),
            )
            for row in settings.style_guides
        ],
        characters=[
            CharacterSnapshot(
                id=shown_id(row, "preview_character"),
                project_id=project_id,
                name=row.content.name,
                description=row.content.description or "",
                prompt_text=row.content.prompt_text or "",
                created_at=shown_stamp(row.created_at),
                updated_at=shown_stamp(row.updated_at),
            )
            for row in settings.characters
        ],
        reference_sets=[
            ReferenceSetSnapshot(
                name=row.content.name,
                description=row.content.description or "",
                items=[
                    ReferenceItemSnapshot(
                        id=str(item.id) if stored is None or item.id in stored else UNSET,
                        label=item.content.label,
                        content_uri=item.content.content_uri or "",
                        content_text=item.content.content_text or "",
                        sort_order=item.content.sort_order,
                        metadata_json=item.content.metadata_json,
                    )
                    for item in row.content.items
                ],
            )
            for row in settings.reference_sets
        ],
        secrets=[
            SecretSnapshot(
                provider_code=row.content.provider_code,
                secret_name=row.content.secret_name,
                has_value=row.content.has_value,
            )
            for row in settings.secrets
        ],
        prompt_templates=[
            PromptTemplateSnapshot(
                id=shown_id(row, "preview_prompt"),
                project_id=project_id,
                name=row.content.name,
                template_text=row.content.template_text,
                created_at=shown_stamp(row.created_at),
                updated_at=shown_stamp(row.updated_at),
            )
            for row in settings.prompt_templates
        ],
    )


def _ids(settings: Settings) -> frozenset[object]:
    named = (*settings.style_guides, *settings.characters, *settings.prompt_templates)
    items = (item.id for row in settings.reference_sets for item in row.content.items)
    return frozenset({*(row.id for row in named), *items})
