"""The error taxonomy, one tree for every service.

::

    KromaError                      kind       HTTP
    |- InvalidRequestError          validation 400
    |- NotFoundError                validation 404
    |- ConflictError                validation 400 (the contract has no 409 for its own routes)
    |- PolicyError                  policy     400
    |- ProviderError                provider   400
    `- InfraError                   infra      500

``unknown`` is left to bugs. ``kind`` and ``code`` are part of the HTTP contract; a subclass
builds its own message from typed arguments. Domain code knows neither HTTP nor ARQ:
``kroma_api.http.errors`` maps a class to a status, the worker maps ``retryable`` to a backoff.
"""

from datetime import datetime
from typing import Any, ClassVar


class KromaError(Exception):
    """Root of everything that Kroma raises on purpose."""

    kind: ClassVar[str] = "unknown"
    code: ClassVar[str] = "internal_error"
    text: ClassVar[str]
    """The message of an error that always says the same."""
    retryable: bool = False
    """Whether the same work may succeed later without anyone changing anything."""
    not_before: datetime | None = None
    """When it is worth a try again, where that is known: such a wait uses up no attempt of a job."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(self.text if message is None else message)

    @property
    def message(self) -> str:
        return str(self)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the built message: an error from a picture process must arrive as it was raised."""
        return _rebuilt, (type(self), self.args, self.__dict__)


def _rebuilt(error: type[KromaError], args: tuple[object, ...], state: dict[str, object]) -> KromaError:
    # Not error(*args): the constructors take what a message is made of, args holds the message.
    built = error.__new__(error, *args)
    built.__dict__.update(state)
    return built


class InvalidRequestError(KromaError):
    """The caller's input breaks a rule; the message names the field and what would be right."""

    kind = "validation"
    code = "validation_error"


class NotFoundError(KromaError):
    """The named thing does not exist, or belongs to another project."""

    kind = "validation"
    code = "not_found"


class ConflictError(KromaError):
    """The input is well-formed but clashes with what is stored."""

    kind = "validation"
    code = "validation_error"


class PolicyError(KromaError):
    """A rule about money or safety forbids it."""

    kind = "policy"
    code = "policy_violation"


class ProviderError(KromaError):
    """A provider or tool refused, failed or answered nonsense."""

    kind = "provider"
    code = "provider_failed"


class InfraError(KromaError):
    """Database, disk, queue or process trouble on our side."""

    kind = "infra"
    code = "internal_error"
    retryable = True


class FieldRequiredError(InvalidRequestError):
    """A required text is missing or blank."""

    def __init__(self, field: str) -> None:
        super().__init__(f"Field '{field}' is required")


class NothingGivenError(InvalidRequestError):
    """An update or content rule wants at least one of several fields."""

    def __init__(self, *fields: str) -> None:
        super().__init__(f"Provide at least one of: {', '.join(fields)}")


class NotOneOfError(InvalidRequestError):
    """A text is outside its vocabulary."""

    def __init__(self, field: str, allowed: tuple[str, ...]) -> None:
        super().__init__(f"Field '{field}' must be one of: {', '.join(allowed)}")


class NameTakenError(ConflictError):
    """Another row of the project has this name."""
