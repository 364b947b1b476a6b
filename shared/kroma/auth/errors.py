"""What can go wrong with tokens."""

from kroma.errors import InvalidRequestError, KromaError, NotFoundError


class UnauthorizedError(KromaError):
    """The caller has not proved who they are."""

    kind = "validation"
    code = "unauthorized"


class MissingTokenError(UnauthorizedError):
    """The request carries no usable bearer token."""

    def __init__(self) -> None:
        super().__init__("Missing Authorization: Bearer token")


class InvalidTokenError(UnauthorizedError):
    """The token is unknown, revoked or expired."""

    def __init__(self) -> None:
        super().__init__("Invalid or expired token")


class ForbiddenError(KromaError):
    """The token is good, but not for this."""

    kind = "validation"
    code = "forbidden"

    def __init__(self) -> None:
        super().__init__("Token is not authorized for this project")


class TokenNotFoundError(NotFoundError):
    """No token has this id."""

    def __init__(self) -> None:
        super().__init__("Auth token")


class AlreadyBootstrappedError(InvalidRequestError):
    """Another caller made the first token a moment earlier."""

    def __init__(self) -> None:
        super().__init__("Bootstrap token already initialized")


class InvalidExpiryError(InvalidRequestError):
    """``expires_at`` is neither a stamp nor a date."""

    def __init__(self) -> None:
        super().__init__(
            "Field 'expires_at' must be an RFC 3339 timestamp like 2027-01-31T12:00:00Z "
            "or a date like 2027-01-31"
        )
