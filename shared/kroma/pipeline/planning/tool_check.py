"""Finds the tools and keys that a run's post-processing needs and that are missing."""

from uuid import UUID

import msgspec
from sqlalchemy import select

from kroma.config import Settings
from kroma.db.engine import Database
from kroma.pipeline.planning.errors import PlanningPreflightError
from kroma.pipeline.planning.plan import RunPlan
from kroma.postprocess.installed import PAID_CUTOUTS, missing_remover, missing_tools
from kroma.postprocess.specs import PlannedTools
from kroma.provider_accounts.access import API_KEY, environment_key, key_variable
from kroma.runs.models import RunMode
from kroma.secrets.models import ProjectSecret


async def with_checked_tools(db: Database, settings: Settings, project_id: UUID, plan: RunPlan) -> RunPlan:
    """The plan; that of a dry run carries missing tools and keys as warnings.

    Raises:
        PlanningPreflightError: A run in mode ``run`` needs a missing tool or key.
    """
    if plan.tools is None:
        return plan
    problems = [*plan.warnings, *missing_tools(plan.tools, settings.tools)]
    problems += await _missing_keys(db, settings, project_id, plan.tools)
    if problems and plan.mode is RunMode.RUN:
        raise PlanningPreflightError("; ".join(problems))
    return msgspec.structs.replace(plan, warnings=tuple(problems))


async def _missing_keys(db: Database, settings: Settings, project_id: UUID, tools: PlannedTools) -> list[str]:
    services = _services(settings, tools)
    refiner = tools.refine.provider if tools.refine is not None and tools.refine.is_required else None
    known = await _with_key(db, settings, project_id, {*services, *([refiner] if refiner else [])})
    problems: list[str] = []
    if services and not known & set(services):
        problems += [f"Background removal by '{code}' has no key: {_advice(code)}" for code in services]
    if refiner is not None and refiner not in known:
        problems.append(
            f"Refining cut-outs has no key: {_advice(refiner)},"
            " or turn it off with postprocess.bg_refine_openai"
        )
    return problems


def _services(settings: Settings, tools: PlannedTools) -> list[str]:
    """The paid services, one of which needs a key; empty if a free tool is available."""
    cutout = tools.cutout
    if cutout is None:
        return []
    free = [code for code in cutout.backends if code not in PAID_CUTOUTS]
    if any(missing_remover(code, cutout, settings.tools) is None for code in free):
        return []
    return [code for code in cutout.backends if code in PAID_CUTOUTS]


async def _with_key(db: Database, settings: Settings, project_id: UUID, codes: set[str]) -> set[str]:
    """Those providers for which the project or the installation has a key."""
    in_environment = {code for code in codes if environment_key(settings, code) is not None}
    if in_environment == codes:
        return in_environment
    async with db.transaction() as session:
        found = await session.scalars(
            select(ProjectSecret.provider_code).where(
                ProjectSecret.project_id == project_id,
                ProjectSecret.secret_name == API_KEY,
                ProjectSecret.provider_code.in_(codes),
            )
        )
        return in_environment | set(found)


def _advice(code: str) -> str:
    return f"store it as the project's secret {code}/{API_KEY}, or set {key_variable(code)}"
