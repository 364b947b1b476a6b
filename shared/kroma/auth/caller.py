"""Who a request comes from, and what they may do."""

from collections.abc import Collection
from typing import Final
from uuid import UUID

import msgspec

from kroma.auth.errors import ForeignScopesError, InsufficientScopeError
from kroma.auth.scopes import Scope
from kroma.shares import ANONYMOUS, token_share


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who a request comes from."""

    user_id: UUID | None = None
    """None for the development bypass and the first token; audited as such."""
    project_id: UUID | None = None
    """The only project the caller may touch; None for all."""
    token_id: UUID | None = None
    """None where no token was asked for."""
    scopes: frozenset[Scope] | None = None
    """With all that they include; None for everything."""
    is_bootstrap: bool = False
    """Whether the request may make the first token and nothing else."""

    @property
    def is_confined(self) -> bool:
        """Whether the caller may name what is the project's and nothing of the operator's."""
        return self.project_id is not None

    @property
    def share(self) -> str:
        """The share key of what the request uses."""
        return ANONYMOUS if self.token_id is None else token_share(self.token_id)

    def may(self, *needed: Scope) -> bool:
        return self.scopes is None or not self.scopes.isdisjoint(needed)

    def require(self, *needed: Scope) -> None:
        """Refuse a caller who has none of these scopes.

        Raises:
            InsufficientScopeError: Naming them.
        """
        if not self.may(*needed):
            raise InsufficientScopeError(needed)

    def require_all_of(self, others: Collection[Scope] | None) -> None:
        """Refuse a caller who handles a token that may do more than they may themselves.

        Args:
            others: The token's scopes; None for everything.

        Raises:
            ForeignScopesError: Naming what the caller lacks.
        """
        if self.scopes is None:
            return
        lacking = set(Scope if others is None else others) - self.scopes
        if lacking:
            raise ForeignScopesError([scope for scope in Scope if scope in lacking])


OWNER: Final = Caller()
"""Of whom no token is asked, like the command line; may do everything."""
