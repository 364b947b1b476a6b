"""Bodies of ``/api/projects/{slug}/chat/sessions``."""

import msgspec
from msgspec import UNSET

from kroma_api.schemas.reply import Id, ListReply, Reply, RequiredText, RowView, Stamp


class CreateChatSessionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``POST /api/projects/{slug}/chat/sessions``."""

    title: str | None = None
    """``New Session`` when absent or blank."""


class CreateChatMessageRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``POST /api/projects/{slug}/chat/sessions/{session_id}/messages``."""

    role: RequiredText = UNSET
    """``user``, ``assistant``, ``system`` or ``tool``, in any case."""
    content: RequiredText = UNSET
    """The text."""


class ChatSessionView(RowView, frozen=True, kw_only=True):
    """A conversation."""

    id: Id
    project_id: Id
    title: str
    status: str
    """``active``."""
    created_at: Stamp
    updated_at: Stamp


class ChatMessageView(RowView, frozen=True, kw_only=True):
    """An utterance."""

    id: Id
    project_id: Id
    session_id: Id
    role: str
    """``user``, ``assistant``, ``system`` or ``tool``."""
    content: str
    created_at: Stamp


class ListChatSessionsResponse(ListReply, frozen=True, kw_only=True):
    """Sessions, last changed first."""

    sessions: list[ChatSessionView]


class ChatSessionResponse(Reply, frozen=True, kw_only=True):
    """One session."""

    session: ChatSessionView


class ListChatMessagesResponse(ListReply, frozen=True, kw_only=True):
    """The transcript of a session, oldest first."""

    session_id: str
    """The id given in the path."""
    messages: list[ChatMessageView]


class ChatMessageResponse(Reply, frozen=True, kw_only=True):
    """One message."""

    message: ChatMessageView
