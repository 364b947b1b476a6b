"""What a token may be allowed to do, and what each such right includes."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final


class Scope(StrEnum):
    """One right of a token, always within the project or the installation that the token is for."""

    READ = "read"
    REVIEW = "review"
    CREATE = "create"
    SPEND = "spend"
    STORAGE = "storage"
    SECRETS = "secrets"
    ADMIN = "admin"


SCOPE_TEXTS: Final[Mapping[Scope, str]] = {
    Scope.READ: "read everything but tokens",
    Scope.REVIEW: "look at the pictures, without money and settings, and choose among them",
    Scope.CREATE: "`read`, and make and change resources and start free runs",
    Scope.SPEND: "`create`, and start work that costs money",
    Scope.STORAGE: "say where files are kept, and copy them there and back",
    Scope.SECRETS: "store secrets, and say to which addresses they are sent",
    Scope.ADMIN: "manage tokens and budgets, and delete",
}
"""For people; with what a scope includes."""

_INCLUDED: Final[Mapping[Scope, frozenset[Scope]]] = {
    Scope.CREATE: frozenset({Scope.READ}),
    Scope.SPEND: frozenset({Scope.CREATE, Scope.READ}),
}
"""What else a scope allows; those that are not here stand alone."""


def with_included(scopes: Iterable[Scope]) -> frozenset[Scope]:
    """These scopes, and all that they include."""
    given = frozenset(scopes)
    return given.union(*(_INCLUDED.get(scope, frozenset()) for scope in given))
