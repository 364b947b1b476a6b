"""``/api/projects/{slug}/bootstrap-prompt`` and ``bootstrap-import``."""

from http import HTTPStatus

from litestar import Router, get, post
from litestar.params import FromPath, JSONBody
from msgspec import UNSET

from kroma.auth.scopes import Scope
from kroma.bootstrap.importer import import_settings
from kroma.bootstrap.prompt import export_settings
from kroma.bootstrap.undo import undo_import
from kroma_api.dependencies import CurrentCaller, Db
from kroma_api.route_facts import Idempotency, route
from kroma_api.schemas.bootstrap import (
    BootstrapImportRequest,
    BootstrapImportResponse,
    BootstrapPromptResponse,
    BootstrapUndoResponse,
    BootstrapUndoView,
)


@get("/bootstrap-prompt", opt=route(scope=Scope.READ, idempotency=Idempotency.READ, contract="3.5"))
async def get_bootstrap_prompt(slug: FromPath[str], db: Db) -> BootstrapPromptResponse:
    """A project's settings, and a prompt for any chat model to improve them."""
    return BootstrapPromptResponse(bootstrap=await export_settings(db, slug=slug))


@post(
    "/bootstrap-import",
    opt=route(
        scope=Scope.CREATE,
        idempotency=Idempotency.REPLAYED,
        contract="3.6",
        example={
            "mode": "merge",
            "dry_run": True,
            "settings": {
                "style_guides": [{"name": "Ink", "instructions": "Heavy outlines"}],
                "characters": [{"name": "Mara", "prompt_text": "a gray braid"}],
                "reference_sets": [
                    {"name": "Harbour", "items": [{"label": "Quay", "content_uri": "scenes/harbor.png"}]}
                ],
                "secrets": [{"provider_code": "openai", "secret_name": "api_key"}],
            },
        },
    ),
    status_code=HTTPStatus.OK,
)
async def import_bootstrap(
    slug: FromPath[str], data: JSONBody[BootstrapImportRequest], db: Db, caller: CurrentCaller
) -> BootstrapImportResponse:
    """Import settings in one transaction, or preview that."""
    imported = await import_settings(
        db,
        slug=slug,
        settings=data.settings,
        ai_response_text=data.ai_response_text,
        mode=data.mode,
        dry_run=bool(data.dry_run),
        caller=caller,
    )
    return BootstrapImportResponse(
        bootstrap_import=imported.report,
        import_id=UNSET if imported.import_id is None else str(imported.import_id),
        audit_id=UNSET if imported.audit_id is None else str(imported.audit_id),
    )


@post(
    "/bootstrap-import/{import_id:str}/undo",
    opt=route(scope=Scope.CREATE, idempotency=Idempotency.REPLAYED, contract=None),
    status_code=HTTPStatus.OK,
)
async def undo_bootstrap_import(
    slug: FromPath[str], import_id: FromPath[str], db: Db, caller: CurrentCaller
) -> BootstrapUndoResponse:
    """Take an import back, unless what it touched has changed since."""
    undone = await undo_import(db, slug=slug, import_id=import_id, caller=caller)
    return BootstrapUndoResponse(
        bootstrap_undo=BootstrapUndoView(
            import_id=str(undone.import_id),
            sections=undone.sections,
            project=undone.project,
            settings=undone.settings,
        ),
        audit_id=str(undone.audit_id),
    )


router = Router(
    "/api/projects/{slug:str}",
    route_handlers=[get_bootstrap_prompt, import_bootstrap, undo_bootstrap_import],
    tags=["bootstrap"],
)
