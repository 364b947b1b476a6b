"""Which routes are the contract's and which are ours."""

from typing import Final

from litestar import Litestar
from litestar.routes import HTTPRoute

OWN_ROUTES: Final = frozenset(
    {
        ("GET", "/health/live"),
        ("GET", "/health/ready"),
        ("GET", "/api/projects/{slug}/provider-calls"),
        ("POST", "/api/projects/{slug}/provider-calls/{call_id}/resolve"),
        ("GET", "/api/projects/{slug}/assets/{asset_id}/lineage"),
        ("POST", "/api/projects/{slug}/assets"),
        ("GET", "/api/projects/{slug}/assets/{asset_id}/content"),
        ("GET", "/api/projects/{slug}/assets/{asset_id}/thumbnail"),
        ("DELETE", "/api/projects/{slug}/assets/{asset_id}"),
        ("GET", "/api/projects/{slug}/audit-events"),
        ("GET", "/api/projects/{slug}/runs/{run_id}/events"),
        ("GET", "/api/projects/{slug}/runs/{run_id}/log"),
        ("POST", "/agent/callback/{instruction_id}"),
        ("POST", "/api/projects/{slug}/bootstrap-import/{import_id}/undo"),
        ("POST", "/api/projects/{slug}/provider-accounts/{provider_code}/check"),
        ("POST", "/api/projects/{slug}/runs/quote"),
        ("POST", "/api/projects/{slug}/runs/{run_id}/cancel"),
        ("POST", "/api/projects/{slug}/runs/{run_id}/retry"),
        ("POST", "/api/projects/{slug}/runs/{run_id}/rerun"),
        ("POST", "/api/projects/{slug}/runs/{run_id}/jobs/{job_id}/select"),
        ("POST", "/api/projects/{slug}/runs/{run_id}/lock-baseline"),
        ("GET", "/api/projects/{slug}/baselines"),
        ("POST", "/api/projects/{slug}/storage/sync"),
        ("GET", "/api/projects/{slug}/storage/syncs"),
        ("GET", "/api/projects/{slug}/storage/syncs/{sync_id}"),
        ("POST", "/api/projects/{slug}/storage/syncs/{sync_id}/cancel"),
        ("POST", "/api/projects/{slug}/storage/syncs/{sync_id}/retry"),
        ("POST", "/api/tools/{tool}"),
        ("POST", "/api/projects/{slug}/pause"),
        ("POST", "/api/projects/{slug}/resume"),
        ("GET", "/api/projects/{slug}/budget"),
        ("PUT", "/api/projects/{slug}/budget"),
        ("DELETE", "/api/projects/{slug}/budget"),
    }
)
"""Routes that contract section 2 does not have."""


def mounted_routes(app: Litestar) -> set[tuple[str, str]]:
    """(method, path) of every documented handler."""
    return {
        (str(method), route.path_format)
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        if handler.resolve_include_in_schema()
        for method in handler.http_methods
    }
