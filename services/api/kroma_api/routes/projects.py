"""``/api/projects``: projects and their storage."""

from http import HTTPStatus

from litestar import Router, get, post, put
from litestar.params import FromPath, FromQuery, JSONBody

from kroma.auth.scopes import Scope
from kroma.projects import queries, service
from kroma.projects.service import LocalStorageChange, ProjectDraft, S3StorageChange
from kroma.runs.queries import count_project_contents
from kroma.spend.queries import project_spend
from kroma_api.dependencies import CurrentCaller, Db, Stores
from kroma_api.http.pagination import After, Limit, open_window
from kroma_api.route_facts import VIEW, Idempotency, route
from kroma_api.schemas.projects import (
    ChangeLocalStorageRequest,
    ChangeLocalStorageResponse,
    ChangeS3StorageRequest,
    ChangeS3StorageResponse,
    CreateProjectRequest,
    ListProjectsResponse,
    ProjectCountsView,
    ProjectListed,
    ProjectName,
    ProjectResponse,
    ProjectSpendView,
    ProjectView,
    StorageResponse,
    StorageView,
    UpsertProjectResponse,
)


@get("/", opt=route(scope=VIEW, idempotency=Idempotency.READ, contract="3.3"))
async def list_projects(
    db: Db,
    caller: CurrentCaller,
    username: FromQuery[str | None] = None,
    limit: Limit = None,
    after: After = None,
) -> ListProjectsResponse:
    """Projects of one owner or of all, last changed first; a project's token sees its project only."""
    async with db.reading() as reader:
        projects = await queries.list_projects(
            reader, username=username, only_project_id=caller.project_id, window=open_window(limit, after)
        )
        owners = await queries.usernames(reader, projects)
    return ListProjectsResponse(
        count=len(projects),
        next=projects.following,
        projects=[ProjectListed.of(row, owners[row.owner_user_id]) for row in projects],
    )


@post(
    "/",
    opt=route(
        scope=Scope.CREATE,
        idempotency=Idempotency.REPLAYED,
        contract="3.3",
        example={"name": "Hero Book", "description": "A harbour, a smith, a storm"},
    ),
    status_code=HTTPStatus.OK,
)
async def upsert_project(
    data: JSONBody[CreateProjectRequest], db: Db, stores: Stores, caller: CurrentCaller
) -> UpsertProjectResponse:
    """Create a project, or overwrite the owner's project of the same slug."""
    draft = ProjectDraft.checked(
        name=data.name,
        slug=data.slug,
        description=data.description,
        username=data.username,
        display_name=data.user_display_name,
    )
    changed = await service.upsert_project(db, stores, draft, actor=caller.user_id)
    return UpsertProjectResponse(
        project=ProjectName.from_row(changed.project),
        storage=StorageView.of(changed.project, changed.storage, stores=stores),
        audit_id=str(changed.audit_id),
    )


@get("/{slug:str}", opt=route(scope=VIEW, idempotency=Idempotency.READ, contract="3.3"))
async def get_project(slug: FromPath[str], db: Db, stores: Stores) -> ProjectResponse:
    """A project with how much it holds, where, and what it has cost."""
    async with db.reading() as reader:
        project, storage = await queries.get_stored_project(reader, slug)
        counts = await count_project_contents(reader, project.id)
        spend = await project_spend(reader, project.id, since=None)
    return ProjectResponse(
        project=ProjectView.from_row(project),
        counts=ProjectCountsView.from_row(counts),
        spend=ProjectSpendView.from_row(spend),
        storage=StorageView.of(project, storage, stores=stores),
    )


@get(
    "/{slug:str}/storage",
    opt=route(scope=(Scope.READ, Scope.STORAGE), idempotency=Idempotency.READ, contract="3.4"),
)
async def get_storage(slug: FromPath[str], db: Db, stores: Stores) -> StorageResponse:
    """Get the storage settings of a project."""
    async with db.reading() as reader:
        project, storage = await queries.get_stored_project(reader, slug)
    return StorageResponse(
        project=ProjectName.from_row(project),
        storage=StorageView.of(project, storage, stores=stores),
    )


@put(
    "/{slug:str}/storage/local",
    opt=route(
        scope=Scope.STORAGE, idempotency=Idempotency.REPEATABLE, contract="3.4", example={"project_root": ""}
    ),
)
async def change_local_storage(
    *,
    slug: FromPath[str],
    data: JSONBody[ChangeLocalStorageRequest],
    db: Db,
    stores: Stores,
    caller: CurrentCaller,
) -> ChangeLocalStorageResponse:
    """Set where a project keeps its files; nothing is moved or created.

    A root is its project's alone: it never is, contains or lies in another project's, or what Kroma keeps. A
    project's token names folders inside the project.
    """
    changed = await service.change_local_storage(
        db,
        LocalStorageChange(base_dir=data.base_dir, project_root=data.project_root),
        slug=slug,
        stores=stores,
        is_confined=caller.is_confined,
        actor=caller.user_id,
    )
    return ChangeLocalStorageResponse(
        project=ProjectName.from_row(changed.project),
        storage=StorageView.of(changed.project, changed.storage, stores=stores),
        audit_id=str(changed.audit_id),
    )


@put(
    "/{slug:str}/storage/s3",
    opt=route(
        scope=Scope.STORAGE,
        idempotency=Idempotency.REPEATABLE,
        contract="3.4",
        example={"bucket": "studio", "region": "eu-central-1", "enabled": False},
    ),
)
async def change_s3_storage(
    slug: FromPath[str],
    data: JSONBody[ChangeS3StorageRequest],
    db: Db,
    stores: Stores,
    caller: CurrentCaller,
) -> ChangeS3StorageResponse:
    """Set where a project is copied to; nothing is contacted. A project's token changes no `profile`."""
    change = S3StorageChange(
        enabled=data.enabled,
        bucket=data.bucket,
        prefix=data.prefix,
        region=data.region,
        profile=data.profile,
        endpoint_url=data.endpoint_url,
    )
    changed = await service.change_s3_storage(
        db, change, slug=slug, stores=stores, is_confined=caller.is_confined, actor=caller.user_id
    )
    return ChangeS3StorageResponse(
        project=ProjectName.from_row(changed.project),
        storage=StorageView.of(changed.project, changed.storage, stores=stores),
        audit_id=str(changed.audit_id),
    )


router = Router(
    "/api/projects",
    route_handlers=[
        list_projects,
        upsert_project,
        get_project,
        get_storage,
        change_local_storage,
        change_s3_storage,
    ],
    tags=["projects"],
)
