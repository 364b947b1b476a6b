"""``/api/tools/{tool}``: one upload in, a picture or a report out; no project.

The libraries of pictures load with the first use: an API that is never asked for a tool does without.
"""

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, Final, cast

import msgspec
from litestar import Request, Response, Router, post
from litestar.datastructures import UploadFile
from litestar.exceptions import ClientException
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, HeaderParameter

from kroma.auth.caller import Caller
from kroma.auth.errors import ForbiddenError
from kroma.auth.scopes import Scope
from kroma.errors import FieldRequiredError, InvalidRequestError, NotFoundError
from kroma.imaging.errors import PictureTooLargeError
from kroma.imaging.header import MAX_BYTES
from kroma.texts import NulCharacterError
from kroma_api.dependencies import AppResources, CurrentCaller, ToolPlaces
from kroma_api.errors import MAX_UPLOAD_BYTES, HttpRuleError
from kroma_api.route_facts import route
from kroma_api.schemas.tools import ToolPictureView, ToolReportView, ToolResponse

if TYPE_CHECKING:
    from kroma.tools.workshop import Price, Result, Source, Workshop

TOOLS: Final = ("generate", "upscale", "color", "bgremove", "qa", "inspect")
"""``archive-bad`` moves files, so it is only a command."""
_FILES: Final = {
    "generate": ("style",),
    "color": ("lut",),
    "qa": ("scene", "style"),
    "inspect": ("sidecar",),
}
"""The files that a tool takes beside ``file``."""
_MANY: Final = frozenset({"style"})
_LISTS: Final = frozenset({"hard", "backends"})
"""Fields that may stand several times, or hold several values with commas between."""

Accept = Annotated[
    str | None, HeaderParameter(name="Accept", description="`image/*` answers with the picture itself")
]


class _Form:
    """An upload, taken apart."""

    def __init__(self, files: dict[str, list["Source"]], fields: dict[str, Any]) -> None:
        self.files = files
        self.fields = fields

    @property
    def picture(self) -> "Source":
        """The one to work on."""
        return self.files["file"][0]

    def find(self, name: str) -> "Source | None":
        """A file beside it."""
        return next(iter(self.files.get(name, ())), None)


class _Made:
    """What a tool gave."""

    def __init__(
        self,
        *,
        pictures: list["Result"] | None = None,
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
    opt=route(scope=Scope.CREATE),
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
    tool_places: ToolPlaces,
    accept: Accept = None,
) -> Response[Any]:
    """Use a tool on one upload: `generate`, `upscale`, `color`, `bgremove`, `qa` or `inspect`.

    The body is a form (`multipart/form-data`) with the picture as `file` and the tool's options as further
    fields, by the names that the command line has. The answer is JSON, or with `Accept: image/*` the picture.
    Calls that cost money want `confirm_spend` and pass the ledger; a token of one project makes none.
    """
    if tool not in TOOLS:
        raise NotFoundError("Tool")
    form = await _form(request, tool)
    wants_picture = (accept or "").strip().lower().startswith("image/")
    async with tool_places:
        from kroma.postprocess.toolbox import Toolbox  # noqa: PLC0415 - loads numpy
        from kroma.tools.workshop import Workshop  # noqa: PLC0415 - as above

        settings = resources.settings
        toolbox = Toolbox(resources.cpu, settings.tools, url_allow=settings.url_allow)
        workshop = Workshop(
            settings=settings,
            cpu=resources.cpu,
            toolbox=toolbox,
            db=resources.db,
            providers=resources.providers,
            actor=caller.user_id,
        )
        try:
            made = await _used(workshop, tool, form, caller)
        finally:
            await toolbox.close()
    if wants_picture:
        return _as_picture(made)
    reply = ToolResponse(
        tool=tool,
        file=form.picture.name,
        pictures=[ToolPictureView.of(result) for result in made.pictures],
        report=made.report,
        inspection=made.inspection,
    )
    return Response(reply)


def _as_picture(made: _Made) -> Response[Any]:
    if len(made.pictures) != 1:
        problem = "Accept: image/* is for what makes exactly one picture"
        raise HttpRuleError(HTTPStatus.BAD_REQUEST, problem)
    (result,) = made.pictures
    return Response(result.data, media_type=result.mime_type)


async def _form(request: Request[Any, Any, Any], tool: str) -> _Form:
    from kroma.tools.workshop import Source  # noqa: PLC0415 - loads numpy

    if request.content_type[0] != "multipart/form-data":
        raise HttpRuleError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Send the body as a form: Content-Type: multipart/form-data"
        )
    try:
        given = await request.form()
    except ClientException as exc:
        if exc.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            problem = f"The request body is larger than {MAX_UPLOAD_BYTES} bytes"
            raise HttpRuleError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, problem) from exc
        raise HttpRuleError(HTTPStatus.BAD_REQUEST, "The request body is no whole form") from exc
    taken = ("file", *_FILES.get(tool, ()))
    files: dict[str, list[Source]] = {}
    fields: dict[str, Any] = {}
    for name, value in cast("list[tuple[str, object]]", given.multi_items()):
        if isinstance(value, UploadFile):
            if name not in taken:
                raise InvalidRequestError(f"Unknown file '{name}'; there are: {', '.join(taken)}")
            files.setdefault(name, []).append(Source(value.filename or name, await _read(value)))
        else:
            _take(fields, name, str(value))
    if "file" not in files:
        raise FieldRequiredError("file")
    for name, sources in files.items():
        if len(sources) > 1 and name not in _MANY:
            raise InvalidRequestError(f"Send only one '{name}'")
    return _Form(files, fields)


async def _read(upload: UploadFile) -> bytes:
    data = await upload.read()
    await upload.close()
    if len(data) > MAX_BYTES:
        raise PictureTooLargeError(upload.filename, f"{len(data)} bytes", "64 MiB")
    return data


def _take(fields: dict[str, Any], name: str, text: str) -> None:
    if "\0" in name or "\0" in text:
        raise NulCharacterError(name.replace("\0", "\\u0000"))
    if name in _LISTS:
        values = tuple(part.strip() for part in text.split(",") if part.strip())
        fields[name] = (*fields.get(name, ()), *values)
    elif name in fields:
        raise InvalidRequestError(f"Field '{name}' is given twice")
    elif text:
        fields[name] = text


def _check_caller(caller: Caller, price: "Price") -> None:
    """Refuse a call that costs money to a token of one project, whose budget it would not touch."""
    if price.may_cost:
        if caller.project_id is not None:
            raise ForbiddenError
        caller.require(Scope.SPEND)


async def _used(workshop: "Workshop", tool: str, form: _Form, caller: Caller) -> _Made:
    from kroma.tools import options  # noqa: PLC0415 - loads numpy

    picture = form.picture
    match tool:
        case "generate":
            return await _generated(workshop, form, caller)
        case "upscale":
            upscale = options.checked(options.UpscaleOptions, form.fields)
            return _Made(pictures=[await workshop.upscale(picture, upscale)])
        case "color":
            color = options.checked(options.ColorOptions, form.fields)
            return _Made(pictures=[await workshop.color(picture, color, form.find("lut"))])
        case "bgremove":
            bgremove = options.checked(options.BgremoveOptions, form.fields)
            price = workshop.cutout_price(bgremove, pictures=1)
            workshop.check_spend(price, is_confirmed=bgremove.confirm_spend)
            _check_caller(caller, price)
            return _Made(pictures=[await workshop.bgremove(picture, bgremove)])
        case "qa":
            qa = options.checked(options.QaOptions, form.fields)
            facts = await workshop.facts(qa, scene=form.find("scene"), styles=form.files.get("style", []))
            return _Made(report=ToolReportView.of(await workshop.check(picture, qa, facts)))
        case _:
            return await _inspected(form)


async def _generated(workshop: "Workshop", form: _Form, caller: Caller) -> _Made:
    from kroma.tools import options as options_of  # noqa: PLC0415 - loads numpy

    options = options_of.checked(options_of.GenerateOptions, form.fields)
    styles = form.files.get("style", [])
    choice = workshop.chosen(options, styles=len(styles))
    maker = workshop.provider(choice.provider)
    price = workshop.price(maker, options, choice, styles=len(styles), scenes=1)
    workshop.check_spend(price, is_confirmed=options.confirm_spend)
    _check_caller(caller, price)
    pictures = [
        await workshop.generate(form.picture, styles, options, provider=maker, choice=choice, index=index)
        for index in range(1, options.candidates + 1)
    ]
    return _Made(pictures=pictures)


async def _inspected(form: _Form) -> _Made:
    from kroma.tools.inspection import inspected  # noqa: PLC0415 - with the tools

    if form.fields:
        raise InvalidRequestError(f"Unknown field '{next(iter(form.fields))}'; 'inspect' takes none")
    beside = form.find("sidecar")
    # Up to 64 MiB are hashed; the loop has other requests.
    found = await asyncio.to_thread(
        inspected, form.picture.data, name=form.picture.name, beside=None if beside is None else beside.data
    )
    return _Made(inspection=msgspec.to_builtins(found))


router = Router("/api/tools", route_handlers=[use_tool], tags=["tools"])
