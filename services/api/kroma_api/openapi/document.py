"""The OpenAPI document, with what Litestar cannot know.

That is errors, required texts, the bearer, what fields are for, and examples.
"""

import ast
import inspect
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from http import HTTPStatus
from itertools import pairwise
from typing import Any, Final

import msgspec
from litestar import Litestar, Router
from litestar.di import Provide
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme
from litestar.routes import HTTPRoute
from msgspec import UNSET

from kroma import __version__
from kroma.auth.scopes import SCOPE_TEXTS
from kroma.tools.options import OPTIONS
from kroma_api.dependencies import DEPENDENCIES
from kroma_api.http.errors import MAX_BODY_BYTES, MAX_UPLOAD_BYTES, ErrorResponse
from kroma_api.middleware.idempotency import KEY_PATTERN, REPLAYED
from kroma_api.openapi.examples import error_example, reply_example
from kroma_api.openapi.files import describe_files
from kroma_api.route_facts import Payload, RouteFacts, Scopes, documented_routes

_ERROR_REF: Final = {"$ref": "#/components/schemas/ErrorResponse"}
_ALWAYS: Final = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.MISDIRECTED_REQUEST,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
_PROTECTED: Final = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_WITH_BODY: Final = (
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
)
_BEARER_TEXT: Final = (
    "A token of `POST /auth/token` or `kroma token create`. One without scopes may do everything in its"
    " project, or in all of them. Others may do what their scopes say: "
    + "; ".join(f"`{scope}`: {text}" for scope, text in SCOPE_TEXTS.items())
    + ". A route that names several scopes wants one of them."
)

_ERROR_TEXTS: Final[Mapping[HTTPStatus, str]] = {
    HTTPStatus.BAD_REQUEST: "A rule is broken; `error` names the field, `error_code` the kind of rule",
    HTTPStatus.UNAUTHORIZED: "There is no bearer token, or it is unknown, revoked or expired",
    HTTPStatus.FORBIDDEN: "The token does not open this project, there is no such project, or the token lacks"
    " a scope (`insufficient_scope`; `error` and `WWW-Authenticate` name it); or a page of another origin"
    " asks for a change (`cross_site_request`)",
    HTTPStatus.NOT_FOUND: "What the path names does not exist, or belongs to another project",
    HTTPStatus.REQUEST_TIMEOUT: "The body did not come in time",
    HTTPStatus.CONFLICT: "What is there forbids it for now; `error_code` says what",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: f"The body is larger than {MAX_BODY_BYTES} bytes",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "The body is not sent as JSON",
    HTTPStatus.UNPROCESSABLE_ENTITY: "The body is JSON of another shape; `error` names the field",
    HTTPStatus.MISDIRECTED_REQUEST: "The server listens on a loopback address, and `Host` names another host",
    HTTPStatus.INTERNAL_SERVER_ERROR: "The fault is ours; the log has the details under `X-Request-Id`",
    HTTPStatus.SERVICE_UNAVAILABLE: "Too many requests are in flight, of all callers or of this one; "
    "`Retry-After` says when to try again",
}
_PARAMETERS: Final[Mapping[str, str]] = {
    "slug": "The project's slug; it is normalized as in `POST /api/projects`",
    "provider_code": "The provider's code; it is normalized like a slug",
    "secret_name": "The secret's name; a slash in it is `%2F`",
    "username": "Only projects of this owner",
    "asset_id": "An asset's id",
    "link_type": "Only links of this type",
    "tool": "`generate`, `upscale`, `color`, `bgremove`, `qa` or `inspect`",
}
"""What the routes do not say of their parameters; others are ids."""
_IDEMPOTENCY_KEY: Final[Mapping[str, Any]] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "A text of your own: the same request is answered again for 7 days, and done once",
    "schema": {"type": "string", "pattern": KEY_PATTERN},
}


def document(routers: Sequence[Router]) -> dict[str, Any]:
    """The document that describes these routers."""
    # An application of its own: it needs neither a database nor the routes that serve documents.
    app = Litestar(
        route_handlers=list(routers),
        dependencies={name: _absent() for name in DEPENDENCIES},
        openapi_config=OpenAPIConfig(
            title="Kroma",
            version=__version__,
            description="Makes the pictures of a comic, and keeps every one traceable.",
            use_handler_docstrings=True,
            operation_id_creator=lambda handler, _method, _path: handler.handler_name,
            components=Components(
                security_schemes={
                    "bearer": SecurityScheme(type="http", scheme="bearer", description=_BEARER_TEXT)
                }
            ),
        ),
    )
    described: dict[str, Any] = msgspec.to_builtins(app.openapi_schema.to_schema(), str_keys=True)
    schemas = described["components"]["schemas"]
    schemas |= msgspec.json.schema(ErrorResponse, ref_template="#/components/schemas/{name}")["$defs"]
    for body in _request_structs(app):
        required = [field.encode_name for field in msgspec.structs.fields(body) if field.default is UNSET]
        if required:
            schemas[body.__name__]["required"] = required
    for struct in _structs([*_bodies(app), ErrorResponse]):
        _describe_struct(schemas[struct.__name__], struct)
    for name, schema in schemas.items():
        if name.endswith("Response"):
            schema["required"] = sorted({*schema["required"], "ok"})
    routes = documented_routes(app)
    for path, item in described["paths"].items():
        for method, operation in item.items():
            _describe_operation(operation, path, schemas, routes[method.upper(), path])
    return described


def _describe_operation(
    operation: dict[str, Any], path: str, schemas: dict[str, Any], facts: RouteFacts
) -> None:
    if facts.idempotency.takes_key:
        _describe_idempotency(operation)
    if facts.payload is Payload.TOOL_FORM:
        _describe_upload(operation)
    if facts.payload in {Payload.PICTURE, Payload.THUMBNAIL}:
        del operation["responses"]["200"]
    _describe_parameters(operation)
    _describe_security(operation, facts.scope)
    _describe_errors(operation, path, facts)
    _show_examples(operation, schemas, facts)
    if facts.payload is Payload.TOOL_FORM:
        _describe_pictures(operation)
    _describe_watching(operation, facts)
    describe_files(operation, facts.payload)


def _absent() -> Provide:
    return Provide(lambda: None, sync_to_thread=False)


def _request_structs(app: Litestar) -> Iterable[type[msgspec.Struct]]:
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for handler in route.route_handlers:
                if handler.parsed_data_field is not None:
                    yield handler.parsed_data_field.annotation


def _bodies(app: Litestar) -> Iterable[type[msgspec.Struct]]:
    yield from _request_structs(app)
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for handler in route.route_handlers:
                more: Any = handler.responses or {}
                replies: list[Any] = [handler.parsed_return_field.annotation]
                replies += [described.data_container for described in more.values()]
                # A handler that returns a Response names its body in ``responses``.
                yield from (reply for reply in replies if isinstance(reply, type(msgspec.Struct)))


def _structs(bodies: Iterable[type[msgspec.Struct]]) -> set[type[msgspec.Struct]]:
    """The bodies, and what is inside of them."""
    found: set[type[msgspec.Struct]] = set()

    def visit(kind: object) -> None:
        match kind:
            case msgspec.inspect.StructType(cls=struct, fields=fields):
                if struct not in found:
                    found.add(struct)
                    for field in fields:
                        visit(field.type)
            case msgspec.inspect.UnionType(types=kinds):
                for inner in kinds:
                    visit(inner)
            case msgspec.inspect.Metadata(type=inner) | msgspec.inspect.ListType(item_type=inner):
                visit(inner)
            case msgspec.inspect.DictType(value_type=inner):
                visit(inner)
            case _:
                pass

    for kind in msgspec.inspect.multi_type_info(bodies):
        visit(kind)
    return found


def _describe_struct(schema: dict[str, Any], struct: type[msgspec.Struct]) -> None:
    schema.setdefault("description", _markdown(inspect.getdoc(struct) or ""))
    schema["description"] = _markdown(schema["description"])
    for cls in reversed(struct.__mro__):
        for field, text in _field_texts(cls):
            schema["properties"][field]["description"] = _markdown(text)


def _field_texts(cls: type) -> Iterator[tuple[str, str]]:
    """The fields of a class that a docstring follows; Python itself does not keep it."""
    if cls is msgspec.Struct or not issubclass(cls, msgspec.Struct):
        return
    definition = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    if isinstance(definition, ast.ClassDef):
        for statements in pairwise(definition.body):
            match statements:
                case (
                    ast.AnnAssign(target=ast.Name(id=field)),
                    ast.Expr(value=ast.Constant(value=str(text))),
                ):
                    yield field, inspect.cleandoc(text)
                case _:
                    pass


def _markdown(text: str) -> str:
    return text.replace("``", "`")


def _describe_parameters(operation: dict[str, Any]) -> None:
    operation["description"] = _markdown(operation["description"])
    for parameter in operation.get("parameters", ()):
        name = parameter["name"]
        of_what = name.removesuffix("_id").replace("_", " ")
        parameter.setdefault("description", _PARAMETERS.get(name) or f"The {of_what}'s id; any text is one")


def _describe_idempotency(operation: dict[str, Any]) -> None:
    operation.setdefault("parameters", []).append(dict(_IDEMPOTENCY_KEY))
    for response in operation["responses"].values():
        response.setdefault("headers", {})[REPLAYED] = {
            "description": "`true` where an earlier answer is given again",
            "schema": {"type": "string", "const": "true"},
        }


def _show_examples(operation: dict[str, Any], schemas: dict[str, Any], facts: RouteFacts) -> None:
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if body is not None:
        body["example"] = facts.example
    for status, response in operation["responses"].items():
        reply, code = response["content"]["application/json"], HTTPStatus(int(status))
        if _schema_name(reply) == ErrorResponse.__name__:
            reply["example"] = error_example(code)
            continue
        reply["example"] = reply_example(schemas, _schema_name(reply))
        if response["description"] == code.description:
            response["description"] = schemas[_schema_name(reply)]["description"]


def _describe_upload(operation: dict[str, Any]) -> None:
    """The form, which is read by hand: which fields it takes depends on the tool."""
    file = {"type": "string", "format": "binary"}
    properties: dict[str, Any] = {
        "file": file | {"description": "The picture to work on"},
        "style": file | {"description": "For `generate` and `qa`: a picture of the style; again for more"},
        "scene": file | {"description": "For `qa`: the scene that the picture was drawn from"},
        "lut": file | {"description": "For `color`: a `.cube` table"},
        "sidecar": file | {"description": "For `inspect`: the file beside the picture"},
    }
    for tool, options in OPTIONS.items():
        texts = {name: text for cls in reversed(options.__mro__) for name, text in _field_texts(cls)}
        for field in msgspec.structs.fields(options):
            known = properties.setdefault(field.name, {"type": "string", "description": ""})
            said = texts.get(field.name, "")
            described = f"For `{tool}`: {said}" if said else f"For `{tool}`."
            known["description"] = f"{known['description']} {_markdown(described)}".lstrip()
    operation["requestBody"] = {
        "content": {
            "multipart/form-data": {
                "schema": {"type": "object", "properties": properties, "required": ["file"]},
                "example": {"file": "(a picture)", "profile": "cinematic_warm"},
            }
        }
    }


def _describe_pictures(operation: dict[str, Any]) -> None:
    operation["requestBody"]["required"] = True
    responses = operation["responses"]
    responses["200"]["content"]["image/*"] = {
        "schema": {"type": "string", "format": "binary"},
        "example": "(a picture)",
    }
    responses["413"]["description"] = f"The body is larger than {MAX_UPLOAD_BYTES} bytes"
    responses["415"]["description"] = "The body is not sent as a form"


def _describe_watching(operation: dict[str, Any], facts: RouteFacts) -> None:
    responses = operation["responses"]
    if facts.etag:
        responses["200"].setdefault("headers", {})["ETag"] = {
            "description": "Weak; changes with every event of the run",
            "schema": {"type": "string"},
        }
        responses["304"] = {"description": "Nothing has happened since the `If-None-Match`"}
    if facts.payload is Payload.EVENTS:
        responses["200"]["content"]["text/event-stream"] = {
            "schema": {"type": "string"},
            "example": 'id: 2\nevent: run\ndata: {"id":2,"kind":"run","created_at":"2027-01-31T12:00:00Z",'
            '"data":{"status":"running"}}\n\n',
        }
        responses["204"] = {"description": "The run has ended and there is nothing more to stream"}
        responses["429"] = {
            "description": "This process serves as many streams as it takes",
            "content": {
                "application/json": {
                    "schema": _ERROR_REF,
                    "example": error_example(HTTPStatus.TOO_MANY_REQUESTS),
                }
            },
        }


def _schema_name(content: Mapping[str, Any]) -> str:
    reference: str = content["schema"]["$ref"]
    return reference.rpartition("/")[2]


def _describe_security(operation: dict[str, Any], scopes: Scopes) -> None:
    if not scopes:
        return
    # Any one of these will do; OpenAPI 3.1 lists for a bearer which rights it must have.
    operation["security"] = [{"bearer": [str(scope)]} for scope in scopes]
    names = " or ".join(f"`{scope}`" for scope in scopes)
    operation["description"] = f"{operation['description']}\n\nScope: {names}.".lstrip()


def _describe_errors(operation: dict[str, Any], path: str, facts: RouteFacts) -> None:
    statuses: set[HTTPStatus] = set(_ALWAYS)
    if facts.signed:
        statuses.add(HTTPStatus.FORBIDDEN)
    elif "security" in operation:
        statuses.update(_PROTECTED)
    if "{" in path or facts.body_names_project:
        statuses.add(HTTPStatus.NOT_FOUND)
    if "requestBody" in operation:
        statuses.update(_WITH_BODY)
        operation["requestBody"]["required"] = False
    if "Idempotency-Key" in {parameter["name"] for parameter in operation.get("parameters", ())}:
        statuses.update((HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY))
    if "503" in operation["responses"]:  # /health/ready has one of its own
        statuses.discard(HTTPStatus.SERVICE_UNAVAILABLE)
    for status in sorted(statuses):
        operation["responses"][str(status.value)] = {
            "description": _ERROR_TEXTS[status],
            "content": {"application/json": {"schema": _ERROR_REF}},
        }
