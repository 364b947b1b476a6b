"""Bodies of ``/api/projects/{slug}/chat/sessions``."""

from typing import Self

import msgspec
from msgspec import UNSET

from kroma.chat.models import ChatMessage, ChatSession
from kroma_api.schemas.reply import Id, ListReply, Reply, RequiredText, Stamp, shown_stamp


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


class ChatSessionView(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation."""

    id: Id
    project_id: Id
    title: str
    status: str
    """``active``."""
    created_at: Stamp
    updated_at: Stamp

    @classmethod
    def of(cls, session: ChatSession) -> Self:
        """Show a session."""
        return cls(
            id=str(session.id),
            project_id=str(session.project_id),
            title=session.title,
            status=session.status,
            created_at=shown_stamp(session.created_at),
            updated_at=shown_stamp(session.updated_at),
        )


class ChatMessageView(msgspec.Struct, frozen=True, kw_only=True):
    """An utterance."""

    id: Id
    project_id: Id
    session_id: Id
    role: str
    """``user``, ``assistant``, ``system`` or ``tool``."""
    content: str
    created_at: Stamp

    @classmethod
    def of(cls, message: ChatMessage) -> Self:
        """Show a message."""
        return cls(
            id=str(message.id),
            project_id=str(message.project_id),
            session_id=str(message.session_id),
            role=message.role,
            content=message.content,
            created_at=shown_stamp(message.created_at),
        )


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
