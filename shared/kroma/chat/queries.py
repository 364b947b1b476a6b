"""Reading chats."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.chat.errors import ChatSessionNotFoundError
from kroma.chat.models import ChatMessage, ChatSession
from kroma.db.keyset import EVERYTHING, ListOrder, Page, Window, ascending
from kroma.projects.contents import get_in_project, list_last_changed

_MESSAGES = ListOrder("ChatMessage", ascending(ChatMessage.seq))


async def list_sessions(
    session: AsyncSession, project_id: UUID, *, window: Window = EVERYTHING
) -> Page[ChatSession]:
    """The chat sessions of a project, last changed first."""
    return await list_last_changed(session, ChatSession, project_id, window=window)


async def get_session(session: AsyncSession, *, slug: str, session_id: str) -> ChatSession:
    """A project's chat session.

    Raises:
        ChatSessionNotFoundError: The project or the session is unknown.
    """
    return await get_in_project(
        session, ChatSession, slug=slug, identifier=session_id, missing=ChatSessionNotFoundError()
    )


async def list_messages(
    session: AsyncSession, chat_session: ChatSession, *, window: Window = EVERYTHING
) -> Page[ChatMessage]:
    """The transcript of a session, in the order in which it was spoken."""
    statement = select(ChatMessage).where(ChatMessage.session_id == chat_session.id)
    return await _MESSAGES.page(session, statement, window, scope=chat_session.id)
