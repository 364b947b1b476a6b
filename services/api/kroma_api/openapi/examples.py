"""Examples of responses for the OpenAPI document, made from its schemas."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from kroma.browsers import MisdirectedRequestError

_VALUES: Final[Mapping[str, Any]] = {
    "Applied.characters": 1,
    "BootstrapUndo.sections": ["characters"],
    "Candidate.output_path": "outputs/8d1c/style_1_harbor_c1.png",
    "ChatMessage.content": "Darker, and rain.",
    "ChatMessage.role": "user",
    "ImportReport.mode": "merge",
    "InstructionEvent.event_type": "confirmed",
    "InstructionEvent.message": "Go ahead",
    "Instruction.status": "confirmed",
    "Job.status": "done",
    "KeyRefCount.count": 2,
    "PipelineTrigger.status_code": 0,
    "PromptTemplate.name": "Page",
    "RunLogResponse.run_log": {"schema_version": "kroma.run_log.v1", "jobs": []},
    "Run.done": True,
    "Candidate.status": "done",
    "Character.name": "Mara",
    "CostEvent.event_type": "image",
    "Export.status": "completed",
    "ReferenceSet.name": "Harbour",
    "Run.status": "ok",
    "StyleGuide.name": "Ink",
    "CreatedToken.label": "laptop",
    "Job.prompt_text": "Redraw the scene in ink with heavy outlines",
    "Problem.field": "name",
    "Problem.index": 0,
    "Problem.message": "characters[0] has the same name as characters[1], which counts",
    "Token.label": "laptop",
    "actor_user_id": "",
    "audit_id": "c0a1f6de-7f0b-4c39-9a55-1e8d4b7a2f63",
    "created_at": "2027-01-31T12:00:00Z",
    "display_name": "OpenAI",
    "id": "3f2b8c1e-6d0a-4c55-9b3e-0e8f1f6f2a71",
    "updated_at": "2027-01-31T12:00:00Z",
    "asset_kind": "job_final_output",
    "base_dir": "var/projects",
    "base_url": "",
    "bucket": "studio",
    "cancel": "/api/projects/hero_book/runs/3f2b8c1e-6d0a-4c55-9b3e-0e8f1f6f2a71/cancel",
    "canceled_at": "",
    "candidate_index": 1,
    "content_text": "",
    "content_uri": "scenes/harbor.png",
    "currency": "USD",
    "description": "A harbour, a smith, a storm",
    "endpoint_url": "",
    "error": "",
    "error_code": "",
    "error_kind": "",
    "event_code": "secret.upsert",
    "events": "/api/projects/hero_book/runs/3f2b8c1e-6d0a-4c55-9b3e-0e8f1f6f2a71/events",
    "expires_at": "2030-01-31T23:59:59+00:00",
    "export_format": "zip",
    "final_output": "outputs/8d1c/style_1_harbor.png",
    "final_output_path": "outputs/8d1c/style_1_harbor.png",
    "generated_at": "2027-01-31T12:00:00Z",
    "grade": "",
    "instruction_text": "Plan page 3",
    "instructions": "Heavy outlines",
    "job_key": "style_1_harbor",
    "key_ref": "local-master",
    "kind": "job_final_output",
    "label": "Quay",
    "last_error": "",
    "link_type": "derived_from",
    "max_attempts": 3,
    "mime_type": "image/png",
    "mode": "run",
    "model_name": "",
    "name": "Hero Book",
    "next": None,
    "notes": "",
    "prefix": "iat-projects",
    "profile": "",
    "project_id": "5c7e1b9a-40d2-4f6e-a3b8-d2f90c6e7714",
    "project_root": "/home/mara/.local/share/kroma/var/projects/hero_book",
    "prompt": "Return ONLY valid JSON ...",
    "prompt_text": "a gray braid",
    "provider_code": "openai",
    "region": "eu-central-1",
    "rel_path": "outputs/8d1c/style_1_harbor.png",
    "report_type": "candidate",
    "resolved_manifest_path": "config/manifest.json",
    "resolved_postprocess_config_path": None,
    "revoked_at": None,
    "route_count": 74,
    "run_log_path": "runs/8d1c.json",
    "run_mode": "run",
    "schema_version": "kroma.bootstrap.v1",
    "secret_name": "api_key",
    "section": "characters",
    "selected_candidate_index": 1,
    "self": "/api/projects/hero_book/runs/3f2b8c1e-6d0a-4c55-9b3e-0e8f1f6f2a71",
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "child_asset_id": "9a1d5f40-2c4e-4b7a-8f7d-5b1c3a9e6d20",
    "checksum_sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "slug": "hero_book",
    "stage": "style",
    "started_unix_ms": 1801396800000,
    "status": "active",
    "stderr": "",
    "stdout": "Run log: runs/8d1c.json",
    "storage_backend": "local",
    "storage_uri": "outputs/8d1c/style_1_harbor.png",
    "template_text": "{character} at sea",
    "time_of_day": "day",
    "title": "Page 3",
    "token": "kroma_" + "0" * 64,
    "token_prefix": "kroma_000000",
    "username": "local",
    "version": "0.1.0",
    "warnings": [],
    "weather": "clear",
}
"""By the name of a field, or of what has it and the field."""

_ERRORS: Final[Mapping[HTTPStatus, tuple[str, str, str]]] = {
    HTTPStatus.BAD_REQUEST: ("Field 'name' is required", "validation", "validation_error"),
    HTTPStatus.UNAUTHORIZED: ("Missing Authorization: Bearer token", "validation", "unauthorized"),
    HTTPStatus.FORBIDDEN: ("Token is not authorized for this project", "validation", "forbidden"),
    HTTPStatus.NOT_FOUND: ("Project not found", "validation", "not_found"),
    HTTPStatus.TOO_MANY_REQUESTS: (
        "Too many event streams are open; poll the list or retry later",
        "policy",
        "too_many_watchers",
    ),
    HTTPStatus.CONFLICT: (
        "Header 'Idempotency-Key': the first request with this key is still in flight",
        "validation",
        "request_in_flight",
    ),
    HTTPStatus.REQUEST_TIMEOUT: (
        "No part of the request body arrived for 20 s; send it again",
        "validation",
        "request_timeout",
    ),
    HTTPStatus.MISDIRECTED_REQUEST: (
        MisdirectedRequestError().message,
        "validation",
        "misdirected_request",
    ),
    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE: (
        "The file has 512 bytes; there are none in 'bytes=600-'",
        "validation",
        "validation_error",
    ),
    HTTPStatus.SERVICE_UNAVAILABLE: (
        "The server is busy; try again in a second",
        "infra",
        "server_busy",
    ),
    HTTPStatus.INSUFFICIENT_STORAGE: (
        "No space left to write 'references/quay-9f86d081884c.png'; no part of it was kept",
        "infra",
        "store_full",
    ),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: (
        "The request body is larger than 2097152 bytes",
        "validation",
        "validation_error",
    ),
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: (
        "Send the body with Content-Type: application/json",
        "validation",
        "validation_error",
    ),
    HTTPStatus.UNPROCESSABLE_ENTITY: (
        "Field 'name': Expected str, got int",
        "validation",
        "validation_error",
    ),
    HTTPStatus.INTERNAL_SERVER_ERROR: ("Internal server error", "infra", "internal_error"),
}

_BY_TYPE: Final[Mapping[str, Any]] = {
    "string": "",
    "integer": 0,
    "number": 0.0,
    "boolean": True,
    "object": {},
    "null": None,
}


def error_example(status: HTTPStatus) -> dict[str, Any]:
    """The body of a failure with this status."""
    error, kind, code = _ERRORS[status]
    return {"ok": False, "error": error, "error_kind": kind, "error_code": code}


def reply_example(schemas: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A body that keeps a schema, with one element in each list."""
    properties: dict[str, Any] = schemas[name]["properties"]
    return {field: _value(schemas, name, field, schema) for field, schema in properties.items()}


def _value(schemas: Mapping[str, Any], struct: str, field: str, schema: Mapping[str, Any]) -> Any:  # noqa: ANN401 - any JSON
    owner = struct.removesuffix("View").removesuffix("Snapshot").removesuffix("Listed")
    for key in (f"{owner}.{field}", field):
        if key in _VALUES and _fits(_VALUES[key], schema):
            return _VALUES[key]
    return _of_schema(schemas, struct, field, schema)


def _of_schema(schemas: Mapping[str, Any], struct: str, field: str, schema: Mapping[str, Any]) -> Any:  # noqa: ANN401 - any JSON
    match schema:
        case {"$ref": str(reference)}:
            return reply_example(schemas, reference.rpartition("/")[2])
        case {"const": value} | {"examples": [value, *_]} | {"enum": [value, *_]}:
            return value
        case {"oneOf": [first, *_]} | {"anyOf": [first, *_]}:
            return _of_schema(schemas, struct, field, first)
        case {"type": "array", "items": inner}:
            return [_of_schema(schemas, struct, field, inner)]
        case {"type": str(kind)}:
            return _BY_TYPE[kind]
        case _:
            return {}


def _fits(value: object, schema: Mapping[str, Any]) -> bool:
    """Whether a field takes a value that others of its name have."""
    if "const" in schema or "$ref" in schema or "$ref" in schema.get("items", {}):
        return False
    kinds = {kind.get("type") for kind in schema.get("oneOf", schema.get("anyOf", [schema]))}
    return None in kinds or _JSON_TYPES[type(value)] in kinds


_JSON_TYPES: Final[Mapping[type, str]] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    list: "array",
    dict: "object",
    type(None): "null",
}
