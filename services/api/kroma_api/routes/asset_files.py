"""The files of ``/api/projects/{slug}/assets``: in, out, small, and away."""

import asyncio
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Annotated, Any, Final, cast

import msgspec
from litestar import Request, Response, delete, get, post
from litestar.background_tasks import BackgroundTask
from litestar.params import FromPath, HeaderParameter, QueryParameter

from kroma.assets.models import Asset, AssetKind
from kroma.assets.queries import get_asset
from kroma.auth.scopes import Scope
from kroma.errors import FieldRequiredError, InvalidRequestError, NotOneOfError
from kroma.library.content import current_file, is_picture
from kroma.library.delivery import Delivery
from kroma.library.project_files import ProjectFiles, open_project
from kroma.library.removal import delete_asset as remove_asset
from kroma.library.thumbnails import DEFAULT_SIZE_PX, SIZES_PX, thumbnail_tag
from kroma.library.upload import FOLDERS, UploadRequest, keep_pictures
from kroma_api.dependencies import AppResources, CurrentCaller, Db, Stores, ThumbnailMaker
from kroma_api.http.errors import MAX_FORM_BYTES, HttpRuleError
from kroma_api.http.etag import IfNoneMatch, is_known
from kroma_api.http.file_response import CHECKED, UNCHANGING, FileAnswer, safe_headers, wanted_part
from kroma_api.http.multipart_form import FormField, FormFile, MultipartForm
from kroma_api.http.scope import IS_HEAD
from kroma_api.http.strict_json import decode
from kroma_api.route_facts import VIEW, Idempotency, Payload, route
from kroma_api.schemas.asset_files import DeletedAssetResponse, UploadAssetsResponse

_FIELDS: Final = ("kind", "reference_set_id", "metadata_json")

Size = Annotated[
    str | None, QueryParameter(description=f"The longer side in pixels: {', '.join(map(str, SIZES_PX))}")
]
Download = Annotated[str | None, QueryParameter(description="`1` makes a browser save the file")]
Range = Annotated[
    str | None,
    HeaderParameter(name="Range", description="One range of bytes, like `bytes=0-1023` or `bytes=-512`"),
]
IfRange = Annotated[
    str | None, HeaderParameter(name="If-Range", description="The `ETag` that `Range` was meant for")
]


@post(
    "/",
    opt=route(
        scope=Scope.CREATE, idempotency=Idempotency.REPEATABLE, contract=None, payload=Payload.PICTURE_FORM
    ),
    status_code=HTTPStatus.OK,
    request_max_body_size=MAX_FORM_BYTES,
)
async def upload_assets(
    slug: FromPath[str],
    request: Request[Any, Any, Any],
    resources: AppResources,
    caller: CurrentCaller,
) -> UploadAssetsResponse:
    """Bring pictures into a project: all of a form's files are kept, or none.

    What a file is, its bytes say, never its name or type: PNG, JPEG and WebP stay as they are, BMP and TIFF
    become PNG. Each has at most 64 MiB and 64 megapixels and is decoded to its last pixel first. Bytes that
    the project has already make no second asset, so that the same upload may be sent again.
    """
    files = await open_project(resources.db, resources.stores, slug, for_writing=True)
    form = MultipartForm(request, max_bytes=MAX_FORM_BYTES)
    fields: dict[str, str] = {}
    folder = resources.settings.data_dir
    async with Delivery(resources.db, resources.cpu, files, spool_folder=folder) as delivery:
        async for part in form.parts():
            match part:
                case FormField():
                    _take_field(fields, part)
                case FormFile():
                    await delivery.take(part.name, _checked_field(part))
        if not delivery.count:
            raise FieldRequiredError("file")
        kept = await keep_pictures(resources.db, files, delivery, _request(fields), actor=caller.user_id)
    return UploadAssetsResponse.of(kept)


def _take_field(fields: dict[str, str], field: FormField) -> None:
    if field.name not in _FIELDS:
        raise InvalidRequestError(
            f"Unknown field '{field.name}'; there are: {', '.join(_FIELDS)}, and pictures as 'file'"
        )
    if field.name in fields:
        raise InvalidRequestError(f"Field '{field.name}' is given twice")
    fields[field.name] = field.text.strip()
    _request(fields)  # what is wrong is said before the files are sent


def _checked_field(file: FormFile) -> AsyncIterator[bytes]:
    if file.field != "file":
        raise InvalidRequestError(f"Unknown file '{file.field}'; send each picture as 'file'")
    return file.chunks


def _request(fields: dict[str, str]) -> UploadRequest:
    request = UploadRequest()
    if kind := fields.get("kind", "").lower():
        if kind not in FOLDERS:
            raise NotOneOfError("kind", tuple(FOLDERS))
        request = msgspec.structs.replace(request, kind=AssetKind(kind))
    if metadata := fields.get("metadata_json"):
        request = msgspec.structs.replace(request, metadata=_metadata(metadata))
    return msgspec.structs.replace(request, reference_set_id=fields.get("reference_set_id") or None)


def _metadata(text: str) -> dict[str, Any]:
    try:
        return decode(text.encode(), dict[str, Any])
    except HttpRuleError as exc:
        raise InvalidRequestError("Field 'metadata_json' must be a JSON object") from exc


@get(
    "/{asset_id:str}/content",
    opt=route(scope=VIEW, idempotency=Idempotency.READ, contract=None, payload=Payload.PICTURE),
)
async def get_asset_content(
    *,
    request: Request[Any, Any, Any],
    slug: FromPath[str],
    asset_id: FromPath[str],
    db: Db,
    stores: Stores,
    caller: CurrentCaller,
    download: Download = None,
    if_none_match: IfNoneMatch = None,
    range_header: Range = None,
    if_range: IfRange = None,
) -> Response[Any]:
    """The file of an asset, byte for byte; its `ETag` is its SHA-256.

    A token that may only review gets pictures, not run logs.
    """
    files, asset = await _find(db, stores, slug, asset_id)
    if not is_picture(asset):
        caller.require(Scope.READ)
    file = await current_file(files.store, asset)
    tag = f'"{file.sha256}"'
    cache = UNCHANGING if file.never_changes else CHECKED
    if is_known(if_none_match, tag):
        return _not_modified(tag, cache)
    headers = safe_headers(
        media_type=file.media_type,
        tag=tag,
        cache=cache,
        name=file.name,
        download=download not in {None, "", "0", "false"},
    )
    part = None
    is_head = bool(cast("dict[str, Any]", request.scope).get(IS_HEAD))  # RFC 9110, 14.2: a range is for GET
    if range_header is not None and if_range in {None, tag} and not is_head:
        part = wanted_part(range_header, await files.store.size(file.key) or 0)
    return FileAnswer(files.store, file.key, headers=headers, part=part)


@get(
    "/{asset_id:str}/thumbnail",
    opt=route(scope=VIEW, idempotency=Idempotency.READ, contract=None, payload=Payload.THUMBNAIL),
)
async def get_asset_thumbnail(
    *,
    slug: FromPath[str],
    asset_id: FromPath[str],
    db: Db,
    stores: Stores,
    thumbnails: ThumbnailMaker,
    size: Size = None,
    if_none_match: IfNoneMatch = None,
) -> Response[Any]:
    """A small WebP of a picture: upright, in sRGB, with its alpha. The first one is made, then it is kept."""
    size_px = _size_px(size)
    files, asset = await _find(db, stores, slug, asset_id)
    if if_none_match is not None and is_picture(asset):
        tag = thumbnail_tag((await current_file(files.store, asset)).sha256, size_px)
        if is_known(if_none_match, tag):
            return _not_modified(tag, CHECKED)
    small = await thumbnails.get(files.store, asset, size_px)
    name = f"{asset.id}_{size_px}.webp"
    headers = safe_headers(media_type="image/webp", tag=small.tag, cache=CHECKED, name=name, download=False)
    keep = None if small.keeping is None else BackgroundTask(asyncio.wait, [small.keeping])
    return Response(small.data, media_type="image/webp", headers=headers, background=keep)


@delete(
    "/{asset_id:str}",
    opt=route(scope=Scope.ADMIN, idempotency=Idempotency.REPEATABLE, contract=None),
    status_code=HTTPStatus.OK,
)
async def delete_asset(
    slug: FromPath[str], asset_id: FromPath[str], db: Db, stores: Stores, caller: CurrentCaller
) -> DeletedAssetResponse:
    """Delete an asset and its file for good.

    What a run made, a baseline, a link, an item of a reference set or an open run refers to stays: the answer
    is a 400 that names what does.
    """
    files = await open_project(db, stores, slug, for_writing=True)
    audit_id = await remove_asset(db, files, asset_id=asset_id, actor=caller.user_id)
    return DeletedAssetResponse(id=asset_id, audit_id=str(audit_id))


async def _find(db: Db, stores: Stores, slug: str, asset_id: str) -> tuple[ProjectFiles, Asset]:
    files = await open_project(db, stores, slug)
    async with db.reading() as reader:
        return files, await get_asset(reader, slug=slug, asset_id=asset_id)


def _not_modified(tag: str, cache: str) -> Response[Any]:
    headers = {"ETag": tag, "Cache-Control": cache}
    return Response(None, status_code=HTTPStatus.NOT_MODIFIED, headers=headers)


def _size_px(text: str | None) -> int:
    known = {str(size): size for size in SIZES_PX}
    if not text:
        return DEFAULT_SIZE_PX
    if text not in known:
        raise NotOneOfError("size", tuple(known))
    return known[text]
