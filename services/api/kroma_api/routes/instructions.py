"""``/api/projects/{slug}/agent/instructions``, and where agents report."""

import asyncio
from http import HTTPStatus
from typing import Annotated, Any

from litestar import Router, get, post
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.params import FromPath, JSONBody, QueryParameter

from kroma.auth.scopes import Scope
from kroma.config import Settings
from kroma.db.engine import Database
from kroma.instructions import callback, queries, service
from kroma.instructions.service import ChangedInstruction
from kroma.instructions.signature import CALLBACK_PATH, Pass, callback_signer
from kroma.projects.queries import get_project_id
from kroma_api.dependencies import AppSettings, CurrentCaller, Db, Queue, resources_of
from kroma_api.http.pagination import After, Limit, open_window
from kroma_api.route_facts import NO_TOKEN, Idempotency, route
from kroma_api.schemas.instructions import (
    AgentCallbackRequest,
    AgentCallbackResponse,
    CancelInstructionRequest,
    ChangedInstructionResponse,
    ConfirmInstructionRequest,
    CreateInstructionRequest,
    InstructionEventView,
    InstructionResponse,
    InstructionView,
    ListInstructionEventsResponse,
    ListInstructionsResponse,
)

Signature = Annotated[
    str | None,
    QueryParameter(name="sig", description="The signature in the callback address that the agent was sent"),
]


@get("/", opt=route(scope=Scope.READ, idempotency=Idempotency.READ, contract="3.18"))
async def list_instructions(
    slug: FromPath[str], db: Db, limit: Limit = None, after: After = None
) -> ListInstructionsResponse:
    """The instructions of a project, last changed first."""
    async with db.reading() as reader:
        project_id = await get_project_id(reader, slug)
        rows = await queries.list_instructions(reader, project_id, window=open_window(limit, after))
    return ListInstructionsResponse(
        count=len(rows), next=rows.following, instructions=[InstructionView.of(row) for row in rows]
    )


@post(
    "/",
    opt=route(
        scope=Scope.CREATE,
        idempotency=Idempotency.REPLAYED,
        contract="3.18",
        example={"instruction_text": "Plan page 3"},
    ),
    status_code=HTTPStatus.OK,
)
async def create_instruction(
    slug: FromPath[str], data: JSONBody[CreateInstructionRequest], db: Db, caller: CurrentCaller
) -> ChangedInstructionResponse:
    """Write an instruction down; it waits for its confirmation."""
    changed = await service.create_instruction(
        db, slug=slug, instruction_text=data.instruction_text, actor=caller.user_id
    )
    return _changed(changed)


@get("/{instruction_id:str}", opt=route(scope=Scope.READ, idempotency=Idempotency.READ, contract="3.18"))
async def get_instruction(slug: FromPath[str], instruction_id: FromPath[str], db: Db) -> InstructionResponse:
    """One instruction, with its attempts."""
    async with db.reading() as reader:
        row = await queries.get_instruction(reader, slug=slug, instruction_id=instruction_id)
    return InstructionResponse(instruction=InstructionView.of(row))


@get(
    "/{instruction_id:str}/events", opt=route(scope=Scope.READ, idempotency=Idempotency.READ, contract="3.18")
)
async def list_instruction_events(
    slug: FromPath[str], instruction_id: FromPath[str], db: Db, limit: Limit = None, after: After = None
) -> ListInstructionEventsResponse:
    """What happened to an instruction, oldest first."""
    async with db.reading() as reader:
        row = await queries.get_instruction(reader, slug=slug, instruction_id=instruction_id)
        events = await queries.list_events(reader, row.id, window=open_window(limit, after))
    return ListInstructionEventsResponse(
        instruction_id=instruction_id,
        count=len(events),
        next=events.following,
        events=[InstructionEventView.from_row(event) for event in events],
    )


@post(
    "/{instruction_id:str}/confirm",
    opt=route(
        scope=Scope.SPEND, idempotency=Idempotency.REPLAYED, contract="3.18", example={"message": "Go ahead"}
    ),
    status_code=HTTPStatus.OK,
)
async def confirm_instruction(
    *,
    slug: FromPath[str],
    instruction_id: FromPath[str],
    data: JSONBody[ConfirmInstructionRequest],
    db: Db,
    queue: Queue,
    caller: CurrentCaller,
) -> ChangedInstructionResponse:
    """Release an instruction to the agent; one that has run is sent again."""
    changed = await service.confirm_instruction(
        db, queue, slug=slug, instruction_id=instruction_id, message=data.message, actor=caller.user_id
    )
    return _changed(changed)


@post(
    "/{instruction_id:str}/cancel",
    opt=route(
        scope=Scope.CREATE,
        idempotency=Idempotency.REPLAYED,
        contract="3.18",
        example={"message": "Page 3 is cut"},
    ),
    status_code=HTTPStatus.OK,
)
async def cancel_instruction(
    slug: FromPath[str],
    instruction_id: FromPath[str],
    data: JSONBody[CancelInstructionRequest],
    db: Db,
    caller: CurrentCaller,
) -> ChangedInstructionResponse:
    """Call an instruction off; a confirmed one has to run first."""
    changed = await service.cancel_instruction(
        db, slug=slug, instruction_id=instruction_id, message=data.message, actor=caller.user_id
    )
    return _changed(changed)


async def _only_admitted(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """Let nobody send a body who has no signature of ours."""
    resources = resources_of(connection.scope)
    instruction_id: str = connection.path_params["instruction_id"]
    await _admit(resources.db, resources.settings, instruction_id, connection.query_params.get("sig"))


@post(
    "/{instruction_id:str}",
    opt=route(
        scope=NO_TOKEN,
        idempotency=Idempotency.READ,
        contract=None,
        signed=True,
        example={"status": "done", "message": "Scene 3 is darker", "result": {"pages": [3]}},
    ),
    guards=[_only_admitted],
    status_code=HTTPStatus.OK,
)
async def receive_agent_callback(
    instruction_id: FromPath[str],
    data: JSONBody[AgentCallbackRequest],
    db: Db,
    settings: AppSettings,
    sig: Signature = None,
) -> AgentCallbackResponse:
    """Report on an instruction that an agent was sent; the signature in the address authorizes it."""
    admission = await _admit(db, settings, instruction_id, sig)
    report = callback.checked_report(
        admission,
        instruction_id=data.instruction_id,
        status=data.status,
        message=data.message,
        result=data.result,
        error=data.error,
    )
    heard = await callback.hear(db, admission, report)
    return AgentCallbackResponse(
        instruction_id=instruction_id, status=heard.instruction.status, applied=heard.is_applied
    )


async def _admit(db: Database, settings: Settings, instruction_id: str, signature: str | None) -> Pass:
    signer = await asyncio.to_thread(callback_signer, settings)
    return await callback.admit(db, signer, instruction_id=instruction_id, signature=signature)


def _changed(changed: ChangedInstruction) -> ChangedInstructionResponse:
    return ChangedInstructionResponse(
        instruction=InstructionView.of(changed.instruction), audit_id=str(changed.audit_id)
    )


router = Router(
    "/api/projects/{slug:str}/agent/instructions",
    route_handlers=[
        list_instructions,
        create_instruction,
        get_instruction,
        list_instruction_events,
        confirm_instruction,
        cancel_instruction,
    ],
    tags=["agent instructions"],
)
callback_router = Router(CALLBACK_PATH, route_handlers=[receive_agent_callback], tags=["agent instructions"])
