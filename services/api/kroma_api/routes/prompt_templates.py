"""``/api/projects/{slug}/prompt-templates``."""

from http import HTTPStatus

from litestar import Router, delete, get, post, put
from litestar.params import FromPath, JSONBody
from msgspec.structs import asdict

from kroma.auth.scopes import Scope
from kroma.project_texts import queries, service
from kroma.project_texts.models import PromptTemplate
from kroma.projects.queries import get_project_id
from kroma_api.dependencies import Db
from kroma_api.http.pagination import After, Limit, open_window
from kroma_api.route_facts import VIEW, Idempotency, route
from kroma_api.schemas.prompt_templates import (
    ChangePromptTemplateRequest,
    CreatePromptTemplateRequest,
    ListPromptTemplatesResponse,
    PromptTemplateResponse,
    PromptTemplateView,
)
from kroma_api.schemas.reply import DeletedResponse


@get("/", opt=route(scope=VIEW, idempotency=Idempotency.READ, contract="3.12"))
async def list_prompt_templates(
    slug: FromPath[str], db: Db, limit: Limit = None, after: After = None
) -> ListPromptTemplatesResponse:
    """The prompt templates of a project, last changed first."""
    async with db.reading() as reader:
        project_id = await get_project_id(reader, slug)
        rows = await queries.list_texts(reader, PromptTemplate, project_id, window=open_window(limit, after))
    return ListPromptTemplatesResponse(
        count=len(rows),
        next=rows.following,
        prompt_templates=[PromptTemplateView.from_row(row) for row in rows],
    )


@post(
    "/",
    opt=route(
        scope=Scope.CREATE,
        idempotency=Idempotency.REPLAYED,
        contract="3.12",
        example={"name": "Page", "template_text": "{character} at sea"},
    ),
    status_code=HTTPStatus.OK,
)
async def create_prompt_template(
    slug: FromPath[str], data: JSONBody[CreatePromptTemplateRequest], db: Db
) -> PromptTemplateResponse:
    """Add a named text; placeholders in it are kept, not filled."""
    template = await service.create_text(db, PromptTemplate, slug=slug, fields=asdict(data))
    return PromptTemplateResponse(prompt_template=PromptTemplateView.from_row(template))


@get("/{template_id:str}", opt=route(scope=VIEW, idempotency=Idempotency.READ, contract="3.12"))
async def get_prompt_template(
    slug: FromPath[str], template_id: FromPath[str], db: Db
) -> PromptTemplateResponse:
    """One prompt template."""
    async with db.reading() as reader:
        template = await queries.get_text(reader, PromptTemplate, slug=slug, identifier=template_id)
    return PromptTemplateResponse(prompt_template=PromptTemplateView.from_row(template))


@put(
    "/{template_id:str}",
    opt=route(
        scope=Scope.CREATE,
        idempotency=Idempotency.REPEATABLE,
        contract="3.12",
        example={"template_text": "{character} at sea, {time}"},
    ),
)
async def change_prompt_template(
    slug: FromPath[str], template_id: FromPath[str], data: JSONBody[ChangePromptTemplateRequest], db: Db
) -> PromptTemplateResponse:
    """Set the given fields of a prompt template."""
    template = await service.change_text(
        db, PromptTemplate, slug=slug, identifier=template_id, fields=asdict(data)
    )
    return PromptTemplateResponse(prompt_template=PromptTemplateView.from_row(template))


@delete(
    "/{template_id:str}",
    opt=route(scope=Scope.ADMIN, idempotency=Idempotency.REPEATABLE, contract="3.12"),
    status_code=HTTPStatus.OK,
)
async def delete_prompt_template(slug: FromPath[str], template_id: FromPath[str], db: Db) -> DeletedResponse:
    """Remove a prompt template for good."""
    await service.delete_text(db, PromptTemplate, slug=slug, identifier=template_id)
    return DeletedResponse(id=template_id)


router = Router(
    "/api/projects/{slug:str}/prompt-templates",
    route_handlers=[
        list_prompt_templates,
        create_prompt_template,
        get_prompt_template,
        change_prompt_template,
        delete_prompt_template,
    ],
    tags=["prompt templates"],
)
