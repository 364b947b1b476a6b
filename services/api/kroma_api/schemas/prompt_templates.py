"""Bodies of ``/api/projects/{slug}/prompt-templates``."""

import msgspec
from msgspec import UNSET

from kroma_api.schemas.reply import Id, ListReply, Reply, RequiredText, RowView, Stamp


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


class PromptTemplateView(RowView, frozen=True, kw_only=True):
    """A named text; placeholders in it stay as they are."""

    id: Id
    project_id: Id
    name: str
    template_text: str
    created_at: Stamp
    updated_at: Stamp


class ListPromptTemplatesResponse(ListReply, frozen=True, kw_only=True):
    """Prompt templates, last changed first."""

    prompt_templates: list[PromptTemplateView]


class PromptTemplateResponse(Reply, frozen=True, kw_only=True):
    """One prompt template."""

    prompt_template: PromptTemplateView
