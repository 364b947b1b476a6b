"""Estimates what a plan may cost."""

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Final

import msgspec

from kroma.auth.caller import Caller
from kroma.auth.scopes import Scope
from kroma.pipeline.planning.plan import PlannedJob, PlannedPicture, RunPlan
from kroma.postprocess.installed import PAID_CUTOUTS
from kroma.postprocess.specs import RefineSpec
from kroma.providers import UnknownProviderError
from kroma.providers.base import EditRequest, Provider, ProviderPicture
from kroma.runs.models import RunMode

CURRENCY: Final = "USD"


class JobPrice(msgspec.Struct, frozen=True, kw_only=True):
    """The price of one job's calls; None is unknown."""

    calls: int
    usd: Decimal | None
    dearest_call_usd: Decimal | None


class PlanPrice(msgspec.Struct, frozen=True, kw_only=True):
    """The price of a plan's calls; None is unknown, not zero."""

    jobs: tuple[JobPrice, ...]
    """In plan order."""
    is_free: bool
    """Whether no call can ever cost anything."""
    as_of: date | None
    """The date of the provider's price list."""

    @property
    def calls(self) -> int:
        return sum(job.calls for job in self.jobs)

    @property
    def may_cost(self) -> bool:
        """Whether a call would be made that is not free; an unknown price is not free."""
        return self.calls > 0 and not self.is_free

    @property
    def total_usd(self) -> Decimal | None:
        return _sum([job.usd for job in self.jobs])

    @property
    def dearest_job_usd(self) -> Decimal | None:
        return _highest([job.usd for job in self.jobs])

    @property
    def dearest_call_usd(self) -> Decimal | None:
        return _highest([job.dearest_call_usd for job in self.jobs if job.calls])


def check_caller(caller: Caller, price: PlanPrice) -> None:
    """Check that the caller may spend money if a call may cost any.

    Raises:
        InsufficientScopeError: The caller's token lacks the scope ``spend``.
    """
    if price.may_cost:
        caller.require(Scope.SPEND)


def price_plan(
    providers: Mapping[str, Provider], plan: RunPlan, *, made: frozenset[tuple[int, int]] = frozenset()
) -> PlanPrice:
    """Ask the plan's provider for the price of each call; a dry run makes none.

    ``made`` has the (job position, candidate index) of pictures that exist already and cost nothing.

    Raises:
        UnknownProviderError: The plan's provider is not in ``providers``.
    """
    provider = providers.get(plan.provider)
    if provider is None:
        raise UnknownProviderError(plan.provider)
    capabilities = provider.capabilities
    indexes = range(1, plan.candidates + 1) if plan.mode is RunMode.RUN else ()
    of_tools = _tool_prices(providers, plan)
    jobs: list[JobPrice] = []
    for position, job in enumerate(plan.jobs):
        to_make = [index for index in indexes if job.chosen is None and (position, index) not in made]
        if capabilities.free:
            prices: list[Decimal | None] = [Decimal(0)] * len(to_make)
        else:
            prices = [provider.estimate(_request(plan, job, index)) for index in to_make]
        if plan.mode is RunMode.RUN:
            prices += of_tools
        jobs.append(JobPrice(calls=len(prices), usd=_sum(prices), dearest_call_usd=_highest(prices)))
    return PlanPrice(
        jobs=tuple(jobs), is_free=capabilities.free and not of_tools, as_of=capabilities.prices_as_of
    )


def _tool_prices(providers: Mapping[str, Provider], plan: RunPlan) -> list[Decimal | None]:
    """The prices of one job's post-processing calls; None is unknown.

    Background services are tried in turn until one succeeds; the most expensive one counts.
    """
    tools = plan.tools
    if tools is None:
        return []
    of_one: list[Decimal | None] = []
    if tools.cutout is not None:
        services = [code for code in tools.cutout.backends if code in PAID_CUTOUTS]
        known = [tools.cutout.prices_usd.get(code) for code in services]
        if services:
            of_one.append(_highest([None if price is None else Decimal(price) for price in known]))
    if tools.refine is not None:
        of_one.append(_refine_price(providers, tools.refine))
    return of_one * (plan.candidates if tools.scope == "all" else 1)


def _refine_price(providers: Mapping[str, Provider], spec: RefineSpec) -> Decimal | None:
    provider = providers.get(spec.provider)
    if provider is None:
        if not spec.is_required:
            return Decimal(0)  # it will not be called
        raise UnknownProviderError(spec.provider)
    models = provider.capabilities.models
    offer = next((one for one in models if one.name == spec.model), models[0])
    # The size depends on the cut-out, which is not made yet: the most expensive one counts.
    picture = ProviderPicture(name="cutout.png", data=b"", mime_type="image/png")
    return _highest(
        [
            provider.estimate(
                EditRequest(
                    prompt=spec.prompt,
                    scene=picture,
                    styles=(),
                    stage="refine",
                    time_of_day="",
                    weather="",
                    candidate_index=1,
                    seed=0,
                    model=spec.model or None,
                    size=size,
                    quality=spec.quality,
                )
            )
            for size in offer.sizes or (None,)
        ]
    )


def _request(plan: RunPlan, job: PlannedJob, index: int) -> EditRequest:
    return EditRequest(
        prompt=job.prompt,
        scene=_unread(job.scene),
        styles=tuple(_unread(style) for style in plan.styles),
        references=tuple(_unread(reference) for reference in plan.references),
        stage=plan.stage,
        time_of_day=plan.time_of_day,
        weather=plan.weather,
        candidate_index=index,
        seed=plan.seed,
        model=plan.model or None,
        size=plan.size,
        quality=plan.quality,
    )


def _unread(picture: PlannedPicture) -> ProviderPicture:
    """A picture without its bytes, which do not affect the price."""
    return ProviderPicture(name=picture.key.rpartition("/")[2], data=b"", mime_type=picture.mime_type)


def _sum(prices: Sequence[Decimal | None]) -> Decimal | None:
    known = [price for price in prices if price is not None]
    return sum(known, Decimal(0)) if len(known) == len(prices) else None


def _highest(prices: Sequence[Decimal | None]) -> Decimal | None:
    known = [price for price in prices if price is not None]
    return max(known, default=Decimal(0)) if len(known) == len(prices) else None
