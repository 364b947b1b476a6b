"""Quotes: what a trigger would make and cost, and a token that binds a later trigger to both."""

import asyncio
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

import msgspec

from kroma.config import Settings
from kroma.cpu import CpuPool
from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.instructions.signature import signing_key
from kroma.pipeline.planning.content_hashes import content_hashes
from kroma.pipeline.planning.errors import InvalidQuoteTokenError
from kroma.pipeline.planning.plan import RunPlan
from kroma.pipeline.planning.planner import plan_run
from kroma.pipeline.planning.price import PlanPrice, price_plan
from kroma.pipeline.planning.project_inputs import load_project_inputs
from kroma.pipeline.planning.project_location import get_location
from kroma.pipeline.planning.run_spec import RunSpec
from kroma.pipeline.planning.tool_check import with_checked_tools
from kroma.providers.base import Provider
from kroma.runs.models import RunMode
from kroma.spend.errors import BudgetNotFoundError, shown_usd
from kroma.spend.queries import BudgetState, get_budget
from kroma.storage.base import ProjectStores

VALID_FOR: Final = timedelta(hours=24)
_MOMENT_DIGITS: Final = 11
"""Of a Unix time in seconds, up to the year 5138."""
_PURPOSE: Final = "kroma run quote 1"
_UNQUOTED: Final = ("seed", "settings_snapshot", "storage_sync_s3", "log_version", "real_root")
"""Plan fields that affect neither the pictures nor the price; a requested seed is hashed separately."""


class Quote(msgspec.Struct, frozen=True, kw_only=True):
    """What a trigger would make and cost."""

    plan: RunPlan
    price: PlanPrice
    token: str
    valid_until: datetime
    warnings: tuple[str, ...]


async def quote_run(
    db: Database,
    stores: ProjectStores,
    settings: Settings,
    *,
    slug: str,
    spec: RunSpec,
    providers: Mapping[str, Provider],
    cpu: CpuPool,
    is_confined: bool,
) -> Quote:
    """Plan and price a run as a trigger would, without storing anything.

    Raises:
        ProjectNotFoundError: No project has this slug.
        InvalidProjectSlugError: The slug has characters that a slug must not have.
        PlanningPreflightError: The run cannot be planned.
    """
    location = await get_location(db, stores, slug)
    plan = await plan_run(
        stores,
        settings,
        project_slug=location.slug,
        location=location.location(stores),
        real_root=location.real_root,
        is_confined=is_confined,
        spec=spec,
        cpu=cpu,
        inputs=await load_project_inputs(db, location, spec),
    )
    plan = await with_checked_tools(db, settings, location.id, plan)
    price = price_plan(providers, plan)
    digest = await plan_hash(stores, plan, price, spec=spec)
    valid_until = utc_now() + VALID_FOR
    key = await asyncio.to_thread(signing_key, settings)
    return Quote(
        plan=plan,
        price=price,
        token=token_of(key, location.id, digest, until=int(valid_until.timestamp())),
        valid_until=valid_until,
        warnings=tuple(_warnings(plan, price, await _budget(db, slug))),
    )


async def open_quote(settings: Settings, project_id: UUID, token: str) -> str:
    """The hash of the plan that a token was issued for.

    Raises:
        InvalidQuoteTokenError: The token is forged, expired or from another project.
    """
    until, _, rest = token.partition(".")
    digest = rest.partition(".")[0]
    key = await asyncio.to_thread(signing_key, settings)
    is_moment = until.isascii() and until.isdigit() and len(until) <= _MOMENT_DIGITS
    expected = token_of(key, project_id, digest, until=int(until) if is_moment else 0)
    if not is_moment or not hmac.compare_digest(expected.encode(), token.encode("utf-8", "replace")):
        raise InvalidQuoteTokenError(is_expired=False)
    if utc_now() >= datetime.fromtimestamp(int(until), UTC):
        raise InvalidQuoteTokenError(is_expired=True)
    return digest


async def plan_hash(stores: ProjectStores, plan: RunPlan, price: PlanPrice, *, spec: RunSpec) -> str:
    """SHA-256, in hex, over everything that determines a plan's pictures and price.

    Raises:
        PlanningPreflightError: A picture cannot be read.
    """
    decisive: dict[str, Any] = msgspec.to_builtins(plan)
    for name in _UNQUOTED:
        del decisive[name]
    pictures = [*(job.scene for job in plan.jobs), *plan.styles, *plan.references]
    store = stores.open(plan.project_root, real_root=plan.real_root)
    decisive["seed"] = spec.seed
    decisive["sha256"] = await content_hashes(store, [picture.key for picture in pictures])
    decisive["price"] = msgspec.to_builtins(price)
    return sha256(msgspec.json.encode(decisive, order="deterministic")).hexdigest()


def token_of(key: bytes, project_id: UUID, digest: str, *, until: int) -> str:
    """The token of a plan's hash, for one project; ``until`` is a Unix time in seconds."""
    terms = f"{until}.{digest}"
    signed = f"{_PURPOSE}\n{project_id}\n{terms}".encode("utf-8", "replace")
    return f"{terms}.{hmac.new(key, signed, sha256).hexdigest()}"


async def _budget(db: Database, slug: str) -> BudgetState | None:
    try:
        async with db.reading() as reader:
            return await get_budget(reader, slug)
    except BudgetNotFoundError:
        return None


def _warnings(plan: RunPlan, price: PlanPrice, budget: BudgetState | None) -> list[str]:
    warnings: list[str] = [*plan.warnings]
    total = price.total_usd
    if total is None:
        of_model = f", model '{plan.model}'," if plan.model else ""
        warnings.append(
            f"The price of provider '{plan.provider}'{of_model} is not known: the run may cost any amount"
        )
    elif total > 0:
        warnings.append("Prices are estimates; the provider's bill is final")
    if budget is None or plan.mode is RunMode.DRY or total == Decimal(0):
        return warnings
    if total is None:
        warnings.append("The project has a budget, which refuses runs with an unknown price")
    elif total > budget.remaining_usd:
        warnings.append(
            f"The project's budget has {shown_usd(budget.remaining_usd)} left; this run would be refused"
        )
    return warnings
