"""The OpenAPI document, with what Litestar cannot know: errors, required texts, the bearer."""

from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec
from litestar import Litestar, Router
from litestar.di import Provide
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme
from litestar.routes import HTTPRoute
from msgspec import UNSET

from kroma import __version__
from kroma.instructions.signature import CALLBACK_PATH
from kroma_api.dependencies import DEPENDENCIES
from kroma_api.errors import ErrorResponse

_ERROR_REF: Final = {"$ref": "#/components/schemas/ErrorResponse"}
_ALWAYS: Final = (HTTPStatus.BAD_REQUEST, HTTPStatus.INTERNAL_SERVER_ERROR)
_PROTECTED: Final = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_WITH_BODY: Final = (
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
)
_OPEN_PATHS: Final = frozenset({"/health"})
_SIGNED_PATHS: Final = frozenset({f"{CALLBACK_PATH}/{{instruction_id}}"})
"""A signature in the address stands for the bearer."""


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
            components=Components(security_schemes={"bearer": SecurityScheme(type="http", scheme="bearer")}),
        ),
    )
    described: dict[str, Any] = msgspec.to_builtins(app.openapi_schema.to_schema(), str_keys=True)
    schemas = described["components"]["schemas"]
    schemas |= msgspec.json.schema(ErrorResponse, ref_template="#/components/schemas/{name}")["$defs"]
    for body in _request_structs(app):
        required = [field.encode_name for field in msgspec.structs.fields(body) if field.default is UNSET]
        if required:
            schemas[body.__name__]["required"] = required
    for name, schema in schemas.items():
        if name.endswith("Response"):
            schema["required"] = sorted({*schema["required"], "ok"})
    for name, text in _descriptions(app).items():
        schemas[name].setdefault("description", text)
    for path, item in described["paths"].items():
        for operation in item.values():
            _describe_errors(operation, path)
    return described


def _absent() -> Provide:
    return Provide(lambda: None, sync_to_thread=False)


def _request_structs(app: Litestar) -> Iterable[type[msgspec.Struct]]:
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for handler in route.route_handlers:
                if handler.parsed_data_field is not None:
                    yield handler.parsed_data_field.annotation


def _descriptions(app: Litestar) -> dict[str, str]:
    """The docstrings of all bodies, and of what is inside of them, by name."""
    bodies = [*_request_structs(app)]
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for handler in route.route_handlers:
                more: Any = handler.responses or {}
                replies: list[Any] = [handler.parsed_return_field.annotation]
                replies += [described.data_container for described in more.values()]
                # A handler that returns a Response names its body in ``responses``.
                bodies += [reply for reply in replies if isinstance(reply, type(msgspec.Struct))]
    _, components = msgspec.json.schema_components(bodies)
    return {name: schema["description"] for name, schema in components.items() if "description" in schema}


def _describe_errors(operation: dict[str, Any], path: str) -> None:
    statuses: set[HTTPStatus] = set(_ALWAYS)
    if path in _SIGNED_PATHS:
        statuses.add(HTTPStatus.FORBIDDEN)
    elif path not in _OPEN_PATHS:
        statuses.update(_PROTECTED)
        operation["security"] = [{"bearer": []}]
    if "{" in path or path == "/auth/token":
        statuses.add(HTTPStatus.NOT_FOUND)
    if "requestBody" in operation:
        statuses.update(_WITH_BODY)
        operation["requestBody"]["required"] = False
    for status in sorted(statuses):
        operation["responses"][str(status.value)] = {
            "description": status.phrase,
            "content": {"application/json": {"schema": _ERROR_REF}},
        }
