"""What a token may be allowed to do, and what each such right includes."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final


class Scope(StrEnum):
    """One right of a token, always within the project or the installation that the token is for."""

    READ = "read"
    """Read everything, except tokens."""
    REVIEW = "review"
    """See the pictures and choose among them; no money, no settings."""
    CREATE = "create"
    """Make and change resources, and start runs that cost nothing."""
    SPEND = "spend"
    """Start work that costs money."""
    STORAGE = "storage"
    """Say where files are kept, and copy them there and back."""
    SECRETS = "secrets"
    """Store secrets, and say to which addresses they are sent."""
    ADMIN = "admin"
    """Manage tokens and budgets, and delete."""


_INCLUDED: Final[Mapping[Scope, frozenset[Scope]]] = {
    Scope.CREATE: frozenset({Scope.READ}),
    Scope.SPEND: frozenset({Scope.CREATE, Scope.READ}),
}
"""What else a scope allows; those that are not here stand alone."""


def with_included(scopes: Iterable[Scope]) -> frozenset[Scope]:
    """These scopes, and all that they include."""
    given = frozenset(scopes)
    return given.union(*(_INCLUDED.get(scope, frozenset()) for scope in given))
