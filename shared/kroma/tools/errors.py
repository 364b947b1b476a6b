"""Errors of the picture tools."""

from decimal import Decimal

from kroma.errors import ConflictError, InvalidRequestError, NotFoundError, PolicyError


class InputMissingError(NotFoundError):
    """A named file or folder does not exist."""

    code = "input_not_found"

    def __init__(self, path: str) -> None:
        super().__init__(f"Input '{path}' not found; name a file or folder")


class NoImagesFoundError(NotFoundError):
    """A named folder contains no pictures."""

    code = "no_images_found"

    def __init__(self, folder: str) -> None:
        super().__init__(f"No pictures found in '{folder}'")


class OutputTakenError(ConflictError):
    """The output file exists and may not be overwritten."""

    code = "output_exists"

    def __init__(self, path: str) -> None:
        super().__init__(f"'{path}' already exists; use --overwrite to replace it")


class OutputTwiceError(ConflictError):
    """Two inputs would be written to the same file."""

    code = "output_twice"

    def __init__(self, path: str) -> None:
        super().__init__(f"Two inputs would be written to '{path}'; rename one of them")


class UnwritableError(ConflictError):
    """A file cannot be read or written."""

    code = "file_error"

    def __init__(self, path: str, reason: OSError | str) -> None:
        if isinstance(reason, OSError):
            reason = reason.strerror or type(reason).__name__
        super().__init__(f"'{path}': {reason}")


class NoRecordError(NotFoundError):
    """A picture has no record, neither inside nor in a sidecar."""

    code = "no_record"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"'{name}' does not say how it was made: it holds no record, and there is no '{name}.json'"
        )


class NotOfARunError(InvalidRequestError):
    """A picture was not made by a run, so there is nothing to rerun."""

    code = "not_of_a_run"

    def __init__(self, name: str) -> None:
        super().__init__(f"'{name}' was not made by a project's run, so there is nothing to run again")


class WrongOptionError(InvalidRequestError):
    """A tool's option is unknown or has an invalid value."""

    code = "invalid_option"


class SpendNotConfirmedError(PolicyError):
    """Calls would cost money, and the spend was not confirmed."""

    code = "spend_confirmation_required"

    def __init__(self, provider: str, *, calls: int, usd: Decimal | None) -> None:
        price = "an unknown amount" if usd is None else f"about {usd:f} USD"
        plural = "call" if calls == 1 else "calls"
        super().__init__(
            f"{calls} {plural} of provider '{provider}' would cost {price}; confirm with confirm_spend"
            " (--confirm-spend at the command line)"
        )


class LedgerMissingError(PolicyError):
    """Calls that cost money need the ledger, and there is no database for it."""

    code = "ledger_unreachable"

    def __init__(self, provider: str) -> None:
        super().__init__(
            f"Provider '{provider}' costs money, and its calls must be recorded in the ledger:"
            " start Kroma with `kroma up`, or set KROMA_DATABASE_URL"
        )
