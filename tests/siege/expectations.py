"""Who may do what: a table of every operation, written by hand and from nothing that the product says.

A route that is not in it fails the siege by name, and so does an entry that no route has.
"""

from enum import StrEnum
from typing import Final


class Access(StrEnum):
    """Who is let in to an operation."""

    PUBLIC = "everyone"
    SIGNED = "whoever has the signature in the address"
    INSTALLATION = "a token of the installation, not of one project"
    READ = "read"
    REVIEW = "review"
    CREATE = "create"
    SPEND = "spend"
    STORAGE = "storage"
    SECRETS = "secrets"
    ADMIN = "admin"
    TOGETHER = "several scopes together, none of which is enough"


OPENED_BY: Final[dict[Access, frozenset[str]]] = {
    Access.READ: frozenset({"read", "create", "spend"}),
    Access.REVIEW: frozenset({"review"}),
    Access.CREATE: frozenset({"create", "spend"}),
    Access.SPEND: frozenset({"spend"}),
    Access.STORAGE: frozenset({"storage"}),
    Access.SECRETS: frozenset({"secrets"}),
    Access.ADMIN: frozenset({"admin"}),
    Access.TOGETHER: frozenset(),
}
"""The scopes that open a kind of access, each by itself."""

P: Final = "/api/projects/{slug}"


VIEW: Final = (Access.READ, Access.REVIEW)
"""The work itself: what a reviewer sees."""


def _crud(path: str, item: str) -> dict[str, tuple[Access, ...]]:
    """Something that a project keeps a list of, and pictures are made after."""
    return {
        f"GET {P}/{path}": VIEW,
        f"POST {P}/{path}": (Access.CREATE,),
        f"GET {P}/{path}/{{{item}}}": VIEW,
        f"PUT {P}/{path}/{{{item}}}": (Access.CREATE,),
        f"DELETE {P}/{path}/{{{item}}}": (Access.ADMIN,),
    }


EXPECTED: Final[dict[str, tuple[Access, ...]]] = {
    "GET /health": (Access.PUBLIC,),
    "GET /health/live": (Access.PUBLIC,),
    "GET /health/ready": (Access.PUBLIC,),
    "POST /agent/callback/{instruction_id}": (Access.SIGNED,),
    "POST /auth/token": (Access.INSTALLATION, Access.ADMIN),
    "GET /auth/tokens": (Access.INSTALLATION, Access.ADMIN),
    "DELETE /auth/tokens/{token_id}": (Access.INSTALLATION, Access.ADMIN),
    "GET /api/projects": VIEW,
    "POST /api/projects": (Access.INSTALLATION, Access.CREATE),
    f"GET {P}": VIEW,
    # The work: runs, their pictures, what was measured of them.
    f"GET {P}/runs": VIEW,
    f"GET {P}/runs/{{run_id}}": VIEW,
    f"GET {P}/runs/{{run_id}}/jobs": VIEW,
    f"GET {P}/runs/{{run_id}}/events": VIEW,
    f"GET {P}/assets": VIEW,
    f"GET {P}/assets/{{asset_id}}": VIEW,
    f"GET {P}/assets/{{asset_id}}/content": VIEW,
    f"GET {P}/assets/{{asset_id}}/thumbnail": VIEW,
    f"GET {P}/quality-reports": VIEW,
    f"GET {P}/assets/{{asset_id}}/lineage": VIEW,
    f"GET {P}/baselines": VIEW,
    f"POST {P}/runs/{{run_id}}/jobs/{{job_id}}/select": (Access.REVIEW,),
    # How it was made, and with what.
    f"GET {P}/runs/{{run_id}}/log": (Access.READ,),
    f"GET {P}/audit-events": (Access.READ,),
    f"GET {P}/bootstrap-prompt": (Access.READ,),
    f"GET {P}/exports": (Access.READ,),
    f"GET {P}/exports/{{export_id}}": (Access.READ,),
    **_crud("asset-links", "link_id"),
    **_crud("prompt-templates", "template_id"),
    **_crud("style-guides", "style_guide_id"),
    **_crud("characters", "character_id"),
    **_crud("reference-sets", "reference_set_id"),
    **_crud("reference-sets/{reference_set_id}/items", "item_id"),
    f"GET {P}/chat/sessions": (Access.READ,),
    f"POST {P}/chat/sessions": (Access.CREATE,),
    f"GET {P}/chat/sessions/{{session_id}}": (Access.READ,),
    f"GET {P}/chat/sessions/{{session_id}}/messages": (Access.READ,),
    f"POST {P}/chat/sessions/{{session_id}}/messages": (Access.CREATE,),
    f"GET {P}/agent/instructions": (Access.READ,),
    f"POST {P}/agent/instructions": (Access.CREATE,),
    f"GET {P}/agent/instructions/{{instruction_id}}": (Access.READ,),
    f"GET {P}/agent/instructions/{{instruction_id}}/events": (Access.READ,),
    f"POST {P}/agent/instructions/{{instruction_id}}/confirm": (Access.SPEND,),
    f"POST {P}/agent/instructions/{{instruction_id}}/cancel": (Access.CREATE,),
    # Making. What costs money wants `spend` by what is in the body: see PAID.
    f"POST {P}/assets": (Access.CREATE,),
    f"DELETE {P}/assets/{{asset_id}}": (Access.ADMIN,),
    f"POST {P}/bootstrap-import": (Access.CREATE,),
    # It deletes what the import added, so it needs `create` and `admin`.
    f"POST {P}/bootstrap-import/{{import_id}}/undo": (Access.TOGETHER,),
    f"POST {P}/runs/trigger": (Access.CREATE,),
    f"POST {P}/runs/quote": (Access.READ,),
    f"POST {P}/runs/validate-config": (Access.READ,),
    f"POST {P}/runs/{{run_id}}/cancel": (Access.CREATE,),
    f"POST {P}/runs/{{run_id}}/retry": (Access.CREATE,),
    f"POST {P}/runs/{{run_id}}/rerun": (Access.CREATE,),
    f"POST {P}/runs/{{run_id}}/lock-baseline": (Access.CREATE,),
    f"POST {P}/pause": (Access.SPEND,),
    f"POST {P}/resume": (Access.SPEND,),
    "POST /api/tools/{tool}": (Access.CREATE,),
    # Money.
    f"GET {P}/budget": (Access.READ, Access.ADMIN),
    f"PUT {P}/budget": (Access.ADMIN,),
    f"DELETE {P}/budget": (Access.ADMIN,),
    f"GET {P}/cost-events": (Access.READ,),
    f"GET {P}/provider-calls": (Access.READ,),
    f"POST {P}/provider-calls/{{call_id}}/resolve": (Access.SPEND,),
    # Where files lie.
    f"GET {P}/storage": (Access.READ, Access.STORAGE),
    f"PUT {P}/storage/local": (Access.STORAGE,),
    f"PUT {P}/storage/s3": (Access.STORAGE,),
    f"POST {P}/storage/sync": (Access.STORAGE,),
    f"GET {P}/storage/syncs": (Access.READ, Access.STORAGE),
    f"GET {P}/storage/syncs/{{sync_id}}": (Access.READ, Access.STORAGE),
    f"POST {P}/storage/syncs/{{sync_id}}/cancel": (Access.STORAGE,),
    f"POST {P}/storage/syncs/{{sync_id}}/retry": (Access.STORAGE,),
    # Keys, and where they are sent.
    f"GET {P}/secrets": (Access.READ, Access.SECRETS),
    f"GET {P}/secrets/rotation-status": (Access.READ, Access.SECRETS),
    f"POST {P}/secrets": (Access.SECRETS,),
    f"POST {P}/secrets/rotate": (Access.SECRETS,),
    f"DELETE {P}/secrets/{{provider_code}}/{{secret_name}}": (Access.SECRETS,),
    f"GET {P}/provider-accounts": (Access.READ, Access.SECRETS),
    f"GET {P}/provider-accounts/{{provider_code}}": (Access.READ, Access.SECRETS),
    f"POST {P}/provider-accounts": (Access.SECRETS,),
    f"PUT {P}/provider-accounts/{{provider_code}}": (Access.SECRETS,),
    f"DELETE {P}/provider-accounts/{{provider_code}}": (Access.ADMIN,),
    f"POST {P}/provider-accounts/{{provider_code}}/check": (Access.SPEND, Access.SECRETS),
}


def opened_by(accesses: tuple[Access, ...]) -> frozenset[str]:
    """The scopes of which each by itself opens an operation."""
    return frozenset().union(*(OPENED_BY.get(access, frozenset()) for access in accesses))
