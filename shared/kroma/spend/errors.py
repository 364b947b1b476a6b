"""What can go wrong with budgets.

::

    InvalidRequestError           validation  validation_error
    |- InvalidLimitError
    `- InvalidWarningLevelsError
    NotFoundError                 validation  not_found
    `- BudgetNotFoundError
    PolicyError                   policy
    |- BudgetExceededError                    budget_exceeded
    `- UnknownPriceError                      price_unknown
"""

from decimal import Decimal

from kroma.errors import InvalidRequestError, NotFoundError, PolicyError


def shown_usd(amount: Decimal) -> str:
    """An amount as texts show it: at least cents, and no more digits than it has."""
    positions = -int(amount.normalize().as_tuple().exponent)
    return f"{amount:.{min(max(positions, 2), 6)}f} USD"


class InvalidLimitError(InvalidRequestError):
    """A limit is negative or finer or larger than money is kept."""

    text = "Field 'limit_usd' must be between 0 and 999999999, with at most 6 decimals"


class InvalidWarningLevelsError(InvalidRequestError):
    """A warning level is no share of the limit."""

    text = "Field 'warning_levels' must hold at most 10 numbers above 0 and at most 1"


class BudgetNotFoundError(NotFoundError):
    """The project has no budget."""

    text = "Budget not found"


class BudgetExceededError(PolicyError):
    """What is asked for costs more than the project's budget still holds; nothing was begun."""

    code = "budget_exceeded"

    def __init__(
        self, *, limit_usd: Decimal, period: str, spent_usd: Decimal, held_usd: Decimal, needed_usd: Decimal
    ) -> None:
        of_what = "in all" if period == "total" else f"a {period}"
        super().__init__(
            f"The project's budget is {shown_usd(limit_usd)} {of_what}: {shown_usd(spent_usd)} is spent, "
            f"{shown_usd(held_usd)} is held for runs and calls in progress, and this needs "
            f"{shown_usd(needed_usd)}"
        )


class UnknownPriceError(PolicyError):
    """The project has a budget, and nobody can say what this would cost."""

    code = "price_unknown"

    def __init__(self, provider: str, model: str) -> None:
        of_model = f", model '{model}'," if model else ""
        super().__init__(
            f"The project has a budget, and the price of provider '{provider}'{of_model} is unknown; "
            "choose a model, size and quality in the price table, or remove the budget"
        )
