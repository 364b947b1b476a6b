"""Reading chats."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from kroma.chat.models import ChatMessage, ChatSession
from kroma.db.keyset import EVERYTHING, Listing, Page, Window, ascending
from kroma.db.reader import Reader
from kroma.errors import NotFoundError
from kroma.projects.contents import get_in_project, last_changed_first

_SESSIONS = last_changed_first(ChatSession)
_MESSAGES = Listing(ChatMessage, ascending(ChatMessage.seq), of=ChatMessage.session_id)


async def list_sessions(
    reader: Reader, project_id: UUID, *, window: Window = EVERYTHING
) -> Page[ChatSession]:
    """The chat sessions of a project, last changed first."""
    return await _SESSIONS.page(reader, window, of=project_id)


async def get_session(source: AsyncSession | Reader, *, slug: str, session_id: str) -> ChatSession:
    """A project's chat session.

    Raises:
        NotFoundError: The project or the session is unknown.
    """
    return await get_in_project(
        source, ChatSession, slug=slug, identifier=session_id, missing=NotFoundError("Chat session not found")
    )


async def list_messages(
    reader: Reader, session_id: UUID, *, window: Window = EVERYTHING
) -> Page[ChatMessage]:
    """The transcript of a session, in the order in which it was spoken."""
    return await _MESSAGES.page(reader, window, of=session_id)
