"""Bodies of budgets and quotes. Amounts are in US dollars, as in cost events."""

from decimal import Decimal
from typing import Literal, Self

import msgspec
from msgspec import UNSET, UnsetType

from kroma.pipeline.planning.plan import PlannedJob
from kroma.pipeline.planning.price import CURRENCY, JobPrice
from kroma.pipeline.planning.quote import Quote
from kroma.spend.queries import BudgetState
from kroma_api.schemas.reply import AuditId, Reply, RequiredText, Stamp, shown_stamp


class SetBudgetRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``PUT /api/projects/{slug}/budget``."""

    limit_usd: float | UnsetType = UNSET
    """0 to 999999999, in US dollars; 0 lets only free providers work."""
    period: RequiredText = UNSET
    """`day`, `month` (both begin at midnight UTC) or `total`."""
    warning_levels: list[float] | None = None
    """Shares of the limit from which a warning stands; 0.5 and 0.8 when absent."""


class BudgetView(msgspec.Struct, frozen=True, kw_only=True):
    """How much a project may spend, and how much of it is gone."""

    limit_usd: float
    period: str
    """`day`, `month` or `total`."""
    period_started_at: Stamp
    """Empty for `total`."""
    spent_usd: float
    """The cost of the calls that were settled in the period."""
    held_usd: float
    """For runs and calls under way, and for calls whose answer was lost."""
    remaining_usd: float
    """What runs that are confirmed now may cost."""
    warning_levels: list[float]
    """Shares of the limit."""
    warnings: list[float]
    """The levels that are reached."""
    unknown_price_calls: int
    """Calls of the period whose cost nobody knows; they are in no sum."""
    updated_at: Stamp

    @classmethod
    def of(cls, state: BudgetState) -> Self:
        return cls(
            limit_usd=float(state.budget.limit_usd),
            period=state.budget.period,
            period_started_at=shown_stamp(state.since),
            spent_usd=float(state.spend.spent_usd),
            held_usd=float(state.spend.held_usd),
            remaining_usd=float(state.remaining_usd),
            warning_levels=state.budget.warning_levels,
            warnings=state.levels_reached,
            unknown_price_calls=state.spend.unknown_price_calls,
            updated_at=shown_stamp(state.budget.updated_at),
        )


class BudgetResponse(Reply, frozen=True, kw_only=True):
    """A project's budget."""

    budget: BudgetView


class ChangedBudgetResponse(BudgetResponse, frozen=True, kw_only=True):
    """The budget as it is now."""

    audit_id: AuditId


class DeletedBudgetResponse(Reply, frozen=True, kw_only=True):
    """The budget is gone; nothing limits what confirmed runs cost."""

    deleted: Literal[True] = True
    audit_id: AuditId


class QuotedJobView(msgspec.Struct, frozen=True, kw_only=True):
    """One image that would be made."""

    job_key: str
    """Stage, number and scene, like ``style_1_harbor``."""
    scene: str
    """The picture it is made of."""
    baseline: str
    """The picture that is locked for the scene; empty where there is none."""
    prompt: str
    candidates: int
    """How many would be made to choose from."""
    calls: int
    """The number of provider calls."""
    price_usd: float | None
    """The price of all its calls; null when unknown."""

    @classmethod
    def of(cls, job: PlannedJob, price: JobPrice, *, candidates: int) -> Self:
        return cls(
            job_key=job.job_key,
            scene=job.scene.ref,
            baseline="" if job.baseline is None else job.baseline.key,
            prompt=job.prompt,
            candidates=candidates,
            calls=price.calls,
            price_usd=_shown_usd(price.usd),
        )


class QuotedPlanView(msgspec.Struct, frozen=True, kw_only=True):
    """What would be made."""

    mode: str
    """``dry`` or ``run``."""
    stage: str
    time_of_day: str
    weather: str
    candidates: int
    """Per job."""
    style_refs: list[str]
    reference_refs: list[str]
    """Pictures of reference sets, heaviest first."""
    jobs: list[QuotedJobView]
    """In plan order."""


class QuoteView(msgspec.Struct, frozen=True, kw_only=True):
    """What a trigger with the same body would make and cost."""

    plan: QuotedPlanView
    calls: int
    """The total number of provider calls; a dry run makes none."""
    provider: str
    model: str
    """Empty is the provider's default."""
    size: str
    """Empty is the scene's, or the provider's default."""
    quality: str
    """Empty is the provider's default."""
    price_per_call_usd: float | None
    """The price of a call, or of the most expensive one where they differ; null when unknown."""
    price_per_job_usd: float | None
    """The price of a job, or of the most expensive one where they differ; null when unknown."""
    total_usd: float | None
    """Null when unknown."""
    currency: str
    prices_as_of: str
    """The day of the price list; empty where there is none."""
    price_known: bool
    """Whether every call has a price."""
    warnings: list[str]
    valid_until: Stamp
    """The token's end."""

    @classmethod
    def of(cls, quote: Quote) -> Self:
        plan, price = quote.plan, quote.price
        return cls(
            plan=QuotedPlanView(
                mode=plan.mode,
                stage=plan.stage,
                time_of_day=plan.time_of_day,
                weather=plan.weather,
                candidates=plan.candidates,
                style_refs=[style.ref for style in plan.styles],
                reference_refs=[reference.ref for reference in plan.references],
                jobs=[
                    QuotedJobView.of(job, of_job, candidates=plan.candidates)
                    for job, of_job in zip(plan.jobs, price.jobs, strict=True)
                ],
            ),
            calls=price.calls,
            provider=plan.provider,
            model=plan.model,
            size=plan.size or "",
            quality=plan.quality or "",
            price_per_call_usd=_shown_usd(price.dearest_call_usd),
            price_per_job_usd=_shown_usd(price.dearest_job_usd),
            total_usd=_shown_usd(price.total_usd),
            currency=CURRENCY,
            prices_as_of="" if price.as_of is None else price.as_of.isoformat(),
            price_known=price.total_usd is not None,
            warnings=list(quote.warnings),
            valid_until=shown_stamp(quote.valid_until),
        )


class QuoteResponse(Reply, frozen=True, kw_only=True):
    """What a run would make and cost, and the token that holds a trigger to it."""

    quote: QuoteView
    quote_token: str
    """For ``POST runs/trigger``, which then refuses with 409 a plan that is not this one."""


def _shown_usd(amount: Decimal | None) -> float | None:
    return None if amount is None else float(amount)
