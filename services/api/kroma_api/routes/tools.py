"""``/api/tools/{tool}``: one upload in, a picture or a report out; no project."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from http import HTTPStatus
from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Response, Router, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, HeaderParameter

from kroma.auth.caller import Caller
from kroma.auth.errors import ForbiddenError
from kroma.auth.scopes import Scope
from kroma.errors import FieldRequiredError, InvalidRequestError, NotFoundError
from kroma.library.spool import Spool, Spooled
from kroma.postprocess.toolbox import Toolbox
from kroma.resources import Resources
from kroma.tools.inspection import inspected
from kroma.tools.options import (
    BgremoveOptions,
    ColorOptions,
    GenerateOptions,
    QaOptions,
    UpscaleOptions,
    checked,
)
from kroma.tools.runner import Price, Result, Source, ToolRunner
from kroma_api.dependencies import TOOL_ROOM_OF_ONE_BYTES, AppResources, CurrentCaller, ToolRoom
from kroma_api.http.errors import MAX_UPLOAD_BYTES, HttpRuleError
from kroma_api.http.multipart_form import FormField, FormFile, MultipartForm
from kroma_api.http.picture_response import Base64Part, InBase64, PictureAnswer
from kroma_api.route_facts import Idempotency, Payload, route
from kroma_api.schemas.tools import ToolPictureView, ToolReportView, ToolResponse

TOOLS: Final = ("generate", "upscale", "color", "bgremove", "qa", "inspect")
"""``archive-bad`` moves files, so it is only a command."""
_FILES: Final = {
    "generate": ("style",),
    "color": ("lut",),
    "qa": ("scene", "style"),
    "inspect": ("sidecar",),
}
"""The files that a tool takes beside ``file``."""
_LARGER: Final = 16
"""How many times as large as an upload its result is taken to be, like a photograph as a PNG."""
_LEAST_ROOM_BYTES: Final = 8 * 1024**2
"""What a small upload counts; so one caller uses up to eight tools at a time, and one for large pictures."""
_MANY: Final = frozenset({"style"})
_LISTS: Final = frozenset({"hard", "backends"})
"""Fields that may stand several times, or hold several values with commas between."""

Accept = Annotated[
    str | None, HeaderParameter(name="Accept", description="`image/*` answers with the picture itself")
]


class _Form:
    """An upload, taken apart."""

    def __init__(self, files: dict[str, list[Source]], fields: dict[str, Any]) -> None:
        self.files = files
        self.fields = fields

    @property
    def picture(self) -> Source:
        return self.files["file"][0]

    def find(self, name: str) -> Source | None:
        return next(iter(self.files.get(name, ())), None)


class _Sent:
    """An upload that has come whole, its files on disk."""

    def __init__(self, files: dict[str, list[Spooled]], fields: dict[str, Any]) -> None:
        self.files = files
        self.fields = fields

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for files in self.files.values() for file in files)


class _Made:
    """What a tool gave."""

    def __init__(
        self,
        *,
        pictures: list[Result] | None = None,
        report: ToolReportView | None = None,
        inspection: object = None,
    ) -> None:
        self.pictures = pictures or []
        self.report = report
        self.inspection = inspection


_OK: Final = {
    HTTPStatus.OK.value: ResponseSpec(
        ToolResponse, generate_examples=False, description="What the tool made or found"
    )
}


@post(
    "/{tool:str}",
    opt=route(scope=Scope.CREATE, idempotency=Idempotency.REPLAYED, contract=None, payload=Payload.TOOL_FORM),
    status_code=HTTPStatus.OK,
    responses=_OK,
    request_max_body_size=MAX_UPLOAD_BYTES,
)
async def use_tool(
    *,
    tool: FromPath[str],
    request: Request[Any, Any, Any],
    resources: AppResources,
    caller: CurrentCaller,
    tool_room: ToolRoom,
    accept: Accept = None,
) -> Response[Any]:
    """Use a tool on one upload: `generate`, `upscale`, `color`, `bgremove`, `qa` or `inspect`.

    The body is a form (`multipart/form-data`) with the picture as `file` and the tool's options as further
    fields, by the names that the command line has. The answer is JSON, or with `Accept: image/*` the picture.
    Calls that cost money want `confirm_spend` and pass the ledger; a token of one project makes none.
    """
    if tool not in TOOLS:
        raise NotFoundError("Tool not found")
    wants_picture = (accept or "").strip().lower().startswith("image/")
    async with AsyncExitStack() as held:
        spool = await held.enter_async_context(Spool(resources.settings.data_dir))
        sent = await _receive(request, tool, spool)
        await held.enter_async_context(tool_room.turn(units=_room_of(sent)))
        made = await _use_in_toolbox(resources, caller, tool, await _load(sent, spool))
        spool.close()
        parts, media_type = _as_picture(made) if wants_picture else await _as_json(made, tool, sent)
        # What was made is in memory until the reader has it.
        return PictureAnswer(parts, media_type=media_type, held=held.pop_all())


def _room_of(sent: _Sent) -> int:
    """How many bytes an upload counts with what a tool may make of it."""
    return min(max(sent.size_bytes * _LARGER, _LEAST_ROOM_BYTES), TOOL_ROOM_OF_ONE_BYTES)


async def _use_in_toolbox(resources: Resources, caller: Caller, tool: str, form: _Form) -> _Made:
    settings = resources.settings
    toolbox = Toolbox(resources.cpu, settings.tools, url_allow=settings.url_allow)
    tool_runner = ToolRunner(
        settings=settings,
        cpu=resources.cpu,
        toolbox=toolbox,
        db=resources.db,
        providers=resources.providers,
        actor=caller.user_id,
    )
    try:
        return await _use(tool_runner, tool, form, caller)
    finally:
        await toolbox.close()


def _as_picture(made: _Made) -> tuple[list[bytes], str]:
    if len(made.pictures) != 1:
        problem = "Accept: image/* is for what makes exactly one picture"
        raise HttpRuleError(HTTPStatus.BAD_REQUEST, problem)
    (result,) = made.pictures
    return [result.data], result.mime_type


async def _as_json(made: _Made, tool: str, sent: _Sent) -> tuple[Sequence[bytes | Base64Part], str]:
    units = InBase64([result.data for result in made.pictures])
    reply = ToolResponse(
        tool=tool,
        file=sent.files["file"][0].name,
        pictures=[
            await asyncio.to_thread(ToolPictureView.of, result, data_base64=text)
            for result, text in zip(made.pictures, units.texts, strict=True)
        ],
        report=made.report,
        inspection=made.inspection,
    )
    return units.parts(reply), "application/json"


async def _receive(request: Request[Any, Any, Any], tool: str, spool: Spool) -> _Sent:
    """The form, with its files on disk: many callers may send theirs at the same time."""
    form = MultipartForm(request, max_bytes=MAX_UPLOAD_BYTES)
    taken = ("file", *_FILES.get(tool, ()))
    files: dict[str, list[Spooled]] = {}
    fields: dict[str, Any] = {}
    async for part in form.parts():
        match part:
            case FormField():
                _take(fields, part.name, part.text)
            case FormFile():
                if part.field not in taken:
                    raise InvalidRequestError(f"Unknown file '{part.field}'; there are: {', '.join(taken)}")
                if part.field in files and part.field not in _MANY:
                    raise InvalidRequestError(f"Send only one '{part.field}'")
                files.setdefault(part.field, []).append(
                    await spool.take(part.name or part.field, part.chunks)
                )
    if "file" not in files:
        raise FieldRequiredError("file")
    return _Sent(files, fields)


async def _load(sent: _Sent, spool: Spool) -> _Form:
    files = {
        name: [Source(file.name, await spool.read(file)) for file in spooled]
        for name, spooled in sent.files.items()
    }
    return _Form(files, sent.fields)


def _take(fields: dict[str, Any], name: str, text: str) -> None:
    if name in _LISTS:
        values = tuple(part.strip() for part in text.split(",") if part.strip())
        fields[name] = (*fields.get(name, ()), *values)
    elif name in fields:
        raise InvalidRequestError(f"Field '{name}' is given twice")
    elif text:
        fields[name] = text


def _check_caller(caller: Caller, price: Price) -> None:
    """Refuse a call that costs money to a token of one project, whose budget it would not touch."""
    if price.may_cost:
        if caller.project_id is not None:
            raise ForbiddenError
        caller.require(Scope.SPEND)


async def _use(tool_runner: ToolRunner, tool: str, form: _Form, caller: Caller) -> _Made:
    picture = form.picture
    match tool:
        case "generate":
            return await _generate(tool_runner, form, caller)
        case "upscale":
            upscale = checked(UpscaleOptions, form.fields)
            return _Made(pictures=[await tool_runner.upscale(picture, upscale)])
        case "color":
            color = checked(ColorOptions, form.fields)
            return _Made(pictures=[await tool_runner.color(picture, color, form.find("lut"))])
        case "bgremove":
            bgremove = checked(BgremoveOptions, form.fields)
            price = tool_runner.cutout_price(bgremove, pictures=1)
            tool_runner.check_spend(price, is_confirmed=bgremove.confirm_spend)
            _check_caller(caller, price)
            return _Made(pictures=[await tool_runner.bgremove(picture, bgremove)])
        case "qa":
            qa = checked(QaOptions, form.fields)
            facts = await tool_runner.facts(qa, scene=form.find("scene"), styles=form.files.get("style", []))
            return _Made(report=ToolReportView.of(await tool_runner.check(picture, qa, facts)))
        case _:
            return await _inspect(form)


async def _generate(tool_runner: ToolRunner, form: _Form, caller: Caller) -> _Made:
    options = checked(GenerateOptions, form.fields)
    styles = form.files.get("style", [])
    choice = tool_runner.resolve_model(options, styles=len(styles))
    maker = tool_runner.provider(choice.provider)
    price = tool_runner.price(maker, options, choice, styles=len(styles), scenes=1)
    tool_runner.check_spend(price, is_confirmed=options.confirm_spend)
    _check_caller(caller, price)
    pictures = [
        await tool_runner.generate(form.picture, styles, options, provider=maker, choice=choice, index=index)
        for index in range(1, options.candidates + 1)
    ]
    return _Made(pictures=pictures)


async def _inspect(form: _Form) -> _Made:
    if form.fields:
        raise InvalidRequestError(f"Unknown field '{next(iter(form.fields))}'; 'inspect' takes none")
    beside = form.find("sidecar")
    # Up to 64 MiB are hashed; the loop has other requests.
    found = await asyncio.to_thread(
        inspected, form.picture.data, name=form.picture.name, beside=None if beside is None else beside.data
    )
    return _Made(inspection=msgspec.to_builtins(found))


router = Router("/api/tools", route_handlers=[use_tool], tags=["tools"])
