"""Bodies of ``/api/projects/{slug}/prompt-templates``."""

from typing import Self

import msgspec
from msgspec import UNSET

from kroma.project_texts.models import PromptTemplate
from kroma_api.schemas.reply import Id, ListReply, Reply, RequiredText, Stamp, shown_stamp


class CreatePromptTemplateRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``POST /api/projects/{slug}/prompt-templates``."""

    name: RequiredText = UNSET
    """Unique in the project; 200 characters at most."""
    template_text: RequiredText = UNSET
    """The text; placeholders in it stay as they are."""


class ChangePromptTemplateRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``PUT /api/projects/{slug}/prompt-templates/{template_id}``; at least one field."""

    name: str | None = None
    """Unique in the project; 200 characters at most."""
    template_text: str | None = None
    """The text; placeholders in it stay as they are."""


class PromptTemplateView(msgspec.Struct, frozen=True, kw_only=True):
    """A named text; placeholders in it stay as they are."""

    id: Id
    project_id: Id
    name: str
    template_text: str
    created_at: Stamp
    updated_at: Stamp

    @classmethod
    def of(cls, template: PromptTemplate) -> Self:
        """Show a template."""
        return cls(
            id=str(template.id),
            project_id=str(template.project_id),
            name=template.name,
            template_text=template.template_text,
            created_at=shown_stamp(template.created_at),
            updated_at=shown_stamp(template.updated_at),
        )


class ListPromptTemplatesResponse(ListReply, frozen=True, kw_only=True):
    """Prompt templates, last changed first."""

    prompt_templates: list[PromptTemplateView]


class PromptTemplateResponse(Reply, frozen=True, kw_only=True):
    """One prompt template."""

    prompt_template: PromptTemplateView
