"""Opening chat sessions and adding to them (contract 3.17)."""

from typing import Final

from msgspec import UnsetType

from kroma.chat.models import ChatMessage, ChatRole, ChatSession
from kroma.chat.queries import get_session
from kroma.db.engine import Database
from kroma.errors import NotOneOfError
from kroma.projects.queries import get_project
from kroma.texts import optional_text, required_text

UNTITLED: Final = "New Session"


async def open_session(db: Database, *, slug: str, title: str | None = None) -> ChatSession:
    """Start a session; one without a title is ``New Session``.

    Raises:
        ProjectNotFoundError: No project has this slug.
    """
    async with db.transaction() as session:
        project = await get_project(session, slug)
        opened = ChatSession(project_id=project.id, title=optional_text(title) or UNTITLED)
        session.add(opened)
        await session.flush()
    return opened


async def add_message(
    db: Database, *, slug: str, session_id: str, role: str | UnsetType, content: str | UnsetType
) -> ChatMessage:
    """Append to a session, whose own stamps stay as they are.

    Raises:
        FieldRequiredError: ``role`` or ``content`` is missing or blank.
        NotOneOfError: ``role`` is nobody's.
        NotFoundError: The project or the session is unknown.
    """
    speaker = _role(role)
    said = required_text("content", content)
    async with db.transaction() as session:
        chat_session = await get_session(session, slug=slug, session_id=session_id)
        message = ChatMessage(
            project_id=chat_session.project_id, session_id=chat_session.id, role=speaker, content=said
        )
        session.add(message)
        await session.flush()
    return message


def _role(text: str | UnsetType) -> ChatRole:
    lowered = required_text("role", text).lower()
    try:
        return ChatRole(lowered)
    except ValueError:
        raise NotOneOfError("role", tuple(ChatRole)) from None
