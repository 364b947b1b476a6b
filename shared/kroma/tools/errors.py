"""Why a tool does nothing."""

from decimal import Decimal

from kroma.errors import ConflictError, InvalidRequestError, NotFoundError, PolicyError


class InputMissingError(NotFoundError):
    """A named file or folder is not there."""

    code = "input_not_found"

    def __init__(self, path: str) -> None:
        super().__init__(f"Input '{path}' not found; name a file or folder")


class NoImagesFoundError(NotFoundError):
    """A named folder holds no picture."""

    code = "no_images_found"

    def __init__(self, folder: str) -> None:
        super().__init__(f"No pictures found in '{folder}'")


class OutputTakenError(ConflictError):
    """A file is there already; nothing is overwritten unasked."""

    code = "output_exists"

    def __init__(self, path: str) -> None:
        super().__init__(f"'{path}' is there already; --overwrite replaces it")


class OutputTwiceError(ConflictError):
    """Two inputs would be written to the same file."""

    code = "output_twice"

    def __init__(self, path: str) -> None:
        super().__init__(f"Another input is written to '{path}' too")


class UnwritableError(ConflictError):
    """A file cannot be read or written."""

    code = "file_error"

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"'{path}': {reason}")


class NoRecordError(NotFoundError):
    """A picture does not say how it was made."""

    code = "no_record"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"'{name}' does not say how it was made: it holds no record, and there is no '{name}.json'"
        )


class NotOfARunError(InvalidRequestError):
    """A picture was not made by a run, so there is none to run again."""

    code = "not_of_a_run"

    def __init__(self, name: str) -> None:
        super().__init__(f"'{name}' was not made by a run of a project, so there is nothing to run again")


class WrongOptionError(InvalidRequestError):
    """An option of a tool has a value that it does not take."""

    code = "invalid_option"


class SpendNotConfirmedError(PolicyError):
    """Calls would cost money, and nobody confirmed it."""

    code = "spend_confirmation_required"

    def __init__(self, provider: str, *, calls: int, usd: Decimal | None) -> None:
        price = "an unknown amount" if usd is None else f"about {usd:f} USD"
        plural = "call" if calls == 1 else "calls"
        super().__init__(
            f"{calls} {plural} of provider '{provider}' would cost {price}; confirm with confirm_spend"
            " (--confirm-spend at the command line)"
        )


class LedgerMissingError(PolicyError):
    """Calls that cost money are only made where the ledger of calls can be written."""

    code = "ledger_unreachable"

    def __init__(self, provider: str) -> None:
        super().__init__(
            f"Provider '{provider}' costs money, and every such call passes the ledger:"
            " start Kroma with `kroma up`, or set KROMA_DATABASE_URL"
        )
