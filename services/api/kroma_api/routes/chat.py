"""``/api/projects/{slug}/chat/sessions``."""

from http import HTTPStatus

from litestar import Router, get, post
from litestar.params import FromPath, JSONBody

from kroma.auth.scopes import Scope
from kroma.chat import queries, service
from kroma.projects.queries import get_project_id
from kroma_api.dependencies import Db
from kroma_api.http.pagination import After, Limit, open_window
from kroma_api.route_facts import Idempotency, route
from kroma_api.schemas.chat import (
    ChatMessageResponse,
    ChatMessageView,
    ChatSessionResponse,
    ChatSessionView,
    CreateChatMessageRequest,
    CreateChatSessionRequest,
    ListChatMessagesResponse,
    ListChatSessionsResponse,
)


@get("/", opt=route(scope=Scope.READ, idempotency=Idempotency.READ, contract="3.17"))
async def list_chat_sessions(
    slug: FromPath[str], db: Db, limit: Limit = None, after: After = None
) -> ListChatSessionsResponse:
    """The chat sessions of a project, last changed first."""
    async with db.reading() as reader:
        project_id = await get_project_id(reader, slug)
        rows = await queries.list_sessions(reader, project_id, window=open_window(limit, after))
    return ListChatSessionsResponse(
        count=len(rows), next=rows.following, sessions=[ChatSessionView.from_row(row) for row in rows]
    )


@post(
    "/",
    opt=route(
        scope=Scope.CREATE, idempotency=Idempotency.REPLAYED, contract="3.17", example={"title": "Page 3"}
    ),
    status_code=HTTPStatus.OK,
)
async def create_chat_session(
    slug: FromPath[str], data: JSONBody[CreateChatSessionRequest], db: Db
) -> ChatSessionResponse:
    """Open a chat session."""
    opened = await service.open_session(db, slug=slug, title=data.title)
    return ChatSessionResponse(session=ChatSessionView.from_row(opened))


@get("/{session_id:str}", opt=route(scope=Scope.READ, idempotency=Idempotency.READ, contract="3.17"))
async def get_chat_session(slug: FromPath[str], session_id: FromPath[str], db: Db) -> ChatSessionResponse:
    """One chat session."""
    async with db.reading() as reader:
        found = await queries.get_session(reader, slug=slug, session_id=session_id)
    return ChatSessionResponse(session=ChatSessionView.from_row(found))


@get("/{session_id:str}/messages", opt=route(scope=Scope.READ, idempotency=Idempotency.READ, contract="3.17"))
async def list_chat_messages(
    slug: FromPath[str], session_id: FromPath[str], db: Db, limit: Limit = None, after: After = None
) -> ListChatMessagesResponse:
    """The transcript of a session, oldest message first."""
    async with db.reading() as reader:
        found = await queries.get_session(reader, slug=slug, session_id=session_id)
        messages = await queries.list_messages(reader, found.id, window=open_window(limit, after))
    return ListChatMessagesResponse(
        session_id=session_id,
        count=len(messages),
        next=messages.following,
        messages=[ChatMessageView.from_row(message) for message in messages],
    )


@post(
    "/{session_id:str}/messages",
    opt=route(
        scope=Scope.CREATE,
        idempotency=Idempotency.REPLAYED,
        contract="3.17",
        example={"role": "user", "content": "Darker, and rain."},
    ),
    status_code=HTTPStatus.OK,
)
async def create_chat_message(
    slug: FromPath[str], session_id: FromPath[str], data: JSONBody[CreateChatMessageRequest], db: Db
) -> ChatMessageResponse:
    """Append a message to a session; it is stored, nobody answers."""
    message = await service.add_message(
        db, slug=slug, session_id=session_id, role=data.role, content=data.content
    )
    return ChatMessageResponse(message=ChatMessageView.from_row(message))


router = Router(
    "/api/projects/{slug:str}/chat/sessions",
    route_handlers=[
        list_chat_sessions,
        create_chat_session,
        get_chat_session,
        list_chat_messages,
        create_chat_message,
    ],
    tags=["chat"],
)
