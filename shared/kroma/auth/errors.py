"""What can go wrong with tokens."""

from collections.abc import Sequence

from kroma.auth.scopes import Scope
from kroma.errors import InvalidRequestError, KromaError, NotFoundError


class UnauthorizedError(KromaError):
    """The caller has not proved who they are."""

    kind = "validation"
    code = "unauthorized"


class MissingTokenError(UnauthorizedError):
    """The request carries no usable bearer token."""

    text = "Missing Authorization: Bearer token"


class InvalidTokenError(UnauthorizedError):
    """The token is unknown, revoked or expired."""

    text = "Invalid or expired token"


class ForbiddenError(KromaError):
    """The token is good, but not for this."""

    kind = "validation"
    code = "forbidden"
    text = "Token is not authorized for this project"


class InsufficientScopeError(KromaError):
    """The token is good, and for this project, but not for this kind of request."""

    kind = "validation"
    code = "insufficient_scope"

    def __init__(self, needed: Sequence[Scope], problem: str | None = None) -> None:
        names = " or ".join(f"'{scope}'" for scope in needed)
        it = "it" if len(needed) == 1 else "one of them"
        super().__init__(problem or f"This token lacks the scope {names}; use a token that has {it}")
        self.asked_for = " ".join(needed) if problem else str(needed[0])
        """What a token needs, as RFC 6750 writes it: of several that would do, the first."""


class ForeignScopesError(InsufficientScopeError):
    """A token would be made or revoked that may do more than the caller's own."""

    def __init__(self, lacking: Sequence[Scope]) -> None:
        names = ", ".join(f"'{scope}'" for scope in lacking)
        super().__init__(
            lacking,
            f"This token lacks {names}, so it can neither make nor revoke a token that has that;"
            " a token without 'scopes' has all of them",
        )


class LastTokenError(ForbiddenError):
    """Once no token is active, anyone on this machine may make one that may do everything."""

    def __init__(self) -> None:
        KromaError.__init__(
            self,
            "This would leave no token that never expires; only a token with all scopes, or"
            " `kroma token revoke`, may do that",
        )


class TokenNotFoundError(NotFoundError):
    """No token has this id."""

    text = "Auth token not found"


class AlreadyBootstrappedError(InvalidRequestError):
    """Another caller made the first token a moment earlier."""

    text = "Bootstrap token already initialized"


class InvalidScopesError(InvalidRequestError):
    """``scopes`` has a word that is none, or no word at all."""

    def __init__(self, unknown: Sequence[str]) -> None:
        known = ", ".join(Scope)
        if unknown:
            words = ", ".join(f"'{word}'" for word in unknown)
            super().__init__(f"Field 'scopes' must only name: {known}; unknown: {words}")
        else:
            super().__init__(f"Field 'scopes' must name at least one of: {known}; leave it out for all")


class InvalidExpiryError(InvalidRequestError):
    """``expires_at`` is neither a stamp nor a date."""

    text = (
        "Field 'expires_at' must be an RFC 3339 timestamp like 2027-01-31T12:00:00Z or a date like 2027-01-31"
    )
