"""``/api/projects/{slug}/characters``."""

from http import HTTPStatus

from litestar import Router, delete, get, post, put
from litestar.params import FromPath, JSONBody
from msgspec.structs import asdict

from kroma.auth.scopes import Scope
from kroma.project_texts import queries, service
from kroma.project_texts.models import Character
from kroma.projects.queries import get_project_id
from kroma_api.dependencies import Db
from kroma_api.http.pagination import After, Limit, open_window
from kroma_api.route_facts import VIEW, Idempotency, route
from kroma_api.schemas.characters import (
    ChangeCharacterRequest,
    CharacterResponse,
    CharacterView,
    CreateCharacterRequest,
    ListCharactersResponse,
)
from kroma_api.schemas.reply import DeletedResponse


@get("/", opt=route(scope=VIEW, idempotency=Idempotency.READ, contract="3.15"))
async def list_characters(
    slug: FromPath[str], db: Db, limit: Limit = None, after: After = None
) -> ListCharactersResponse:
    """The characters of a project, last changed first."""
    async with db.reading() as reader:
        project_id = await get_project_id(reader, slug)
        rows = await queries.list_texts(reader, Character, project_id, window=open_window(limit, after))
    return ListCharactersResponse(
        count=len(rows), next=rows.following, characters=[CharacterView.from_row(row) for row in rows]
    )


@post(
    "/",
    opt=route(
        scope=Scope.CREATE,
        idempotency=Idempotency.REPLAYED,
        contract="3.15",
        example={"name": "Mara", "description": "The smith", "prompt_text": "a gray braid"},
    ),
    status_code=HTTPStatus.OK,
)
async def create_character(
    slug: FromPath[str], data: JSONBody[CreateCharacterRequest], db: Db
) -> CharacterResponse:
    """Add a character."""
    character = await service.create_text(db, Character, slug=slug, fields=asdict(data))
    return CharacterResponse(character=CharacterView.from_row(character))


@get("/{character_id:str}", opt=route(scope=VIEW, idempotency=Idempotency.READ, contract="3.15"))
async def get_character(slug: FromPath[str], character_id: FromPath[str], db: Db) -> CharacterResponse:
    """One character."""
    async with db.reading() as reader:
        character = await queries.get_text(reader, Character, slug=slug, identifier=character_id)
    return CharacterResponse(character=CharacterView.from_row(character))


@put(
    "/{character_id:str}",
    opt=route(
        scope=Scope.CREATE,
        idempotency=Idempotency.REPEATABLE,
        contract="3.15",
        example={"prompt_text": "a gray braid, a blue coat"},
    ),
)
async def change_character(
    slug: FromPath[str], character_id: FromPath[str], data: JSONBody[ChangeCharacterRequest], db: Db
) -> CharacterResponse:
    """Set the given fields of a character."""
    character = await service.change_text(
        db, Character, slug=slug, identifier=character_id, fields=asdict(data)
    )
    return CharacterResponse(character=CharacterView.from_row(character))


@delete(
    "/{character_id:str}",
    opt=route(scope=Scope.ADMIN, idempotency=Idempotency.REPEATABLE, contract="3.15"),
    status_code=HTTPStatus.OK,
)
async def delete_character(slug: FromPath[str], character_id: FromPath[str], db: Db) -> DeletedResponse:
    """Remove a character for good."""
    await service.delete_text(db, Character, slug=slug, identifier=character_id)
    return DeletedResponse(id=character_id)


router = Router(
    "/api/projects/{slug:str}/characters",
    route_handlers=[list_characters, create_character, get_character, change_character, delete_character],
    tags=["characters"],
)
