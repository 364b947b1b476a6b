"""What the OpenAPI document says of routes whose bodies are files."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from kroma.library.upload import FOLDERS
from kroma_api.http.errors import MAX_FORM_BYTES
from kroma_api.http.multipart_form import MAX_FIELDS, MAX_FILES
from kroma_api.openapi.examples import error_example
from kroma_api.route_facts import Payload

_BINARY: Final[Mapping[str, Any]] = {"type": "string", "format": "binary"}
_ERROR_REF: Final = {"$ref": "#/components/schemas/ErrorResponse"}
_TAG: Final = {"ETag": {"description": "The SHA-256 of the picture", "schema": {"type": "string"}}}

_FORM: Final[Mapping[str, Any]] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {
                    "file": {
                        "type": "array",
                        "items": _BINARY,
                        "description": f"A picture; again for more, up to {MAX_FILES}",
                    },
                    "kind": {
                        "type": "string",
                        "enum": list(FOLDERS),
                        "default": "reference",
                        "description": "`input` is a scene to redraw and lies in `scenes/`, where"
                        ' `"input": "scenes"` of a trigger finds it; `reference` lies in `references/`',
                    },
                    "reference_set_id": {
                        "type": "string",
                        "description": "Each picture becomes an item of this set, labeled by its file name",
                    },
                    "metadata_json": {
                        "type": "string",
                        "description": "A JSON object for every new asset's `metadata_json`",
                    },
                },
            },
            "example": {"file": ["(a picture)"], "kind": "reference"},
        }
    },
}
_STORE: Final[Mapping[HTTPStatus, str]] = {
    HTTPStatus.SERVICE_UNAVAILABLE: "The store of files does not answer, or too many requests are in flight; "
    "`error` says which",
}
_UPLOAD: Final[Mapping[HTTPStatus, str]] = {
    HTTPStatus.REQUEST_TIMEOUT: "The form did not come in time",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: f"The body is larger than {MAX_FORM_BYTES} bytes",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "The body is not sent as a form",
    HTTPStatus.INSUFFICIENT_STORAGE: "No space is left; nothing of the upload was kept",
    **_STORE,
}


def describe_files(operation: dict[str, Any], payload: Payload) -> None:
    """Complete what the other rules of the document have left of these routes."""
    if payload is Payload.PICTURE_FORM:
        operation["requestBody"] = dict(_FORM)
        operation["description"] += (
            f"\n\nA form has at most {MAX_FILES} files and {MAX_FIELDS} fields, in any order."
        )
        _add_errors(operation, _UPLOAD)
    elif payload is Payload.PICTURE:
        _describe_content(operation)
    elif payload is Payload.THUMBNAIL:
        _describe_thumbnail(operation)


def _describe_content(operation: dict[str, Any]) -> None:
    _add_errors(operation, _STORE)
    _add_errors(operation, {HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE: "The file has no such bytes"})
    body = {"*/*": {"schema": _BINARY, "example": "(a picture)"}}
    operation["responses"] |= {
        "200": {"description": "The whole file", "headers": _TAG, "content": body},
        "206": {"description": "The range that was asked for", "headers": _TAG, "content": body},
        "304": {"description": "It is the file of the `If-None-Match`"},
    }


def _describe_thumbnail(operation: dict[str, Any]) -> None:
    _add_errors(operation, _STORE)
    body = {"image/webp": {"schema": _BINARY, "example": "(a picture)"}}
    operation["responses"] |= {
        "200": {"description": "The thumbnail", "headers": _TAG, "content": body},
        "304": {"description": "It is the thumbnail of the `If-None-Match`"},
    }


def _add_errors(operation: dict[str, Any], texts: Mapping[HTTPStatus, str]) -> None:
    for status, text in texts.items():
        content = {"schema": _ERROR_REF, "example": error_example(status)}
        operation["responses"][str(status.value)] = {
            "description": text,
            "content": {"application/json": content},
        }
